//! A denial-of-service mitigator for Linux servers: an XDP program that counts and drops, and the
//! agent that decides what to drop.
pub mod capture;
