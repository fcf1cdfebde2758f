//! What the XDP program does with the bytes of one packet: parse it, find its block, count it, tell its
//! signature, answer it.
//!
//! These modules hold no map and no helper, so they are built for the host too: tests check them
//! against an independent parser, and replay runs the very code that the kernel runs.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod answer;
pub mod block_table;
#[cfg(not(target_arch = "bpf"))]
pub mod block_writing;
pub mod content;
pub mod counters;
pub mod cursor;
pub mod envelope;
pub mod extensions;
mod instructions;
pub mod packet;
pub mod shared;
pub mod signature;
pub mod sketch;
pub mod source_table;
#[cfg(test)]
mod source_table_tests;
pub mod transport;
