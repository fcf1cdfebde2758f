//! What suites, the demo and the evaluation share: network namespaces to work in, traffic to fill them with, charts,
//! and a thin layer that says which tests could not run.

pub mod access_log;
pub mod chart;
pub mod ethernet;
pub mod installation;
pub mod lab;
pub mod labelled_flows;
pub mod machine;
pub mod numbers;
pub mod packet;
pub mod scenarios;
pub mod suite;
pub mod traffic;
pub mod web_server;
