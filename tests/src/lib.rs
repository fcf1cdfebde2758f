//! What suites and the demo share: network namespaces to work in, traffic to fill them with, and a thin layer
//! that says which tests could not run.

pub mod installation;
pub mod lab;
pub mod packet;
pub mod suite;
pub mod traffic;
pub mod web_server;
