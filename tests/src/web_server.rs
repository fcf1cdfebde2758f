//! The victim: a real nginx with a configuration of its own, serving two small pages.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::lab::{Child, Core, Host, find_program, scratch_directory};

/// Page names, as requests spell them, and their sizes in bytes.
pub const PAGES: [(&str, usize); 2] = [("/small.html", 1_024), ("/page.html", 10_240)];

/// How many connections it serves, and for how long it waits for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// More than any lab opens.
    Ample,
    /// 1024 connections, a request within ten seconds: as a careful administrator has it.
    Usual,
}

/// A running nginx with one worker; dropping it ends it.
#[derive(Debug)]
pub struct WebServer {
    process: Child,
    directory: TempDir,
}

impl WebServer {
    /// Starts it on `host`, on one core, and waits until it takes connections at `address`.
    ///
    /// # Errors
    ///
    /// When nginx is not installed, or does not start; the message has what it said.
    pub fn start(host: &Host, address: SocketAddr, size: Size, core: Core) -> Result<Self> {
        let program = find_program("nginx").context("nginx is missing; run `cargo xtask setup`")?;
        let directory = scratch_directory("nginx")?;
        for (name, size) in PAGES {
            let path = directory.path().join(name.trim_start_matches('/'));
            fs::write(&path, "mitigator\n".repeat(size / 10 + 1).get(..size).unwrap_or_default())?;
        }
        let configuration = directory.path().join("nginx.conf");
        fs::write(&configuration, configuration_for(address, size, directory.path()))?;
        let mut command = host.command(program);
        command.arg("-c").arg(&configuration).arg("-p").arg(directory.path());
        command.arg("-e").arg(directory.path().join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        core.pin_command(&mut command);
        let server = Self { process: Child::spawn(command)?, directory };
        server.wait_until_open(host, address)
    }

    fn wait_until_open(mut self, host: &Host, address: SocketAddr) -> Result<Self> {
        for _ in 0..100 {
            if host.enter(|| TcpStream::connect_timeout(&address, Duration::from_millis(100)))?.is_ok() {
                return Ok(self);
            }
            if let Some(status) = self.process.wait_for(Duration::from_millis(50))? {
                bail!("nginx ended with {status}: {}", self.log());
            }
        }
        bail!("nginx does not answer at {address}: {}", self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default().trim().to_owned()
    }
}

fn configuration_for(address: SocketAddr, size: Size, directory: &Path) -> String {
    let directory = directory.display();
    let (connections, header_timeout_s) = match size {
        Size::Ample => (16_384, 60),
        Size::Usual => (1_024, 10),
    };
    format!(
        "daemon off;
worker_processes 1;
user root;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
worker_rlimit_nofile 65536;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    types {{ text/html html; }}
    keepalive_timeout 30s;
    client_header_timeout {header_timeout_s}s;
    reset_timedout_connection on;
    keepalive_requests 1000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    server {{
        listen {address} backlog=4096;
        root {directory};
    }}
}}
"
    )
}
