//! One HTTP/1.1 connection with a chosen source address: a request, its answer, and whether more may follow.
//!
//! Written over plain sockets because clients and flood share one core with everything that is not the server:
//! hyper's client costs several times the processor time of these few calls, and the flood is to be cheap for its
//! sender. Answers are parsed by `httparse`, the parser hyper uses.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Header fields of an answer that are looked at.
const MOST_HEADERS: usize = 32;
/// Read at once; a small page fits.
const CHUNK: usize = 16 * 1024;

/// An open connection that waits for a request.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    KeepOpen,
    Close,
}

impl Connection {
    /// Connects to `server` from the address `client`, any port.
    pub(super) async fn open(client: std::net::IpAddr, server: SocketAddr) -> io::Result<Self> {
        let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(client, 0))?;
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(CHUNK) })
    }

    /// Asks for `path` and reads the whole answer; anything but 200 is an error. Gives the connection back when
    /// it can take another request.
    pub(super) async fn get(mut self, path: &str, afterwards: Afterwards) -> io::Result<Option<Self>> {
        let connection = match afterwards {
            Afterwards::KeepOpen => "keep-alive",
            Afterwards::Close => "close",
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: victim\r\nConnection: {connection}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.received.clear();
        let head = loop {
            self.read_some().await?;
            if let Some(head) = parse(&self.received)? {
                break head;
            }
        };
        while self.received.len() < head.length + head.body {
            self.read_some().await?;
        }
        if head.status != 200 {
            return Err(io::Error::other(format!("the server answered {}", head.status)));
        }
        Ok((head.keeps_open && afterwards == Afterwards::KeepOpen).then_some(self))
    }

    /// Sends a piece of a request and looks whether the server has closed the connection, which is an error.
    pub(super) async fn send_piece(&mut self, piece: &str) -> io::Result<()> {
        self.stream.write_all(piece.as_bytes()).await?;
        match self.stream.try_read(&mut [0; 1]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    async fn read_some(&mut self) -> io::Result<()> {
        self.received.reserve(CHUNK);
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The first part of an answer. Lengths in bytes.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    body: usize,
    keeps_open: bool,
}

/// `None` while the head is not complete.
fn parse(received: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(received).map_err(io::Error::other)?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let body = header("content-length").and_then(|value| value.trim().parse().ok());
    Ok(Some(Head {
        status: response.code.unwrap_or(0),
        length,
        body: body.ok_or_else(|| io::Error::other("an answer without a Content-Length"))?,
        keeps_open: !header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_heads() {
        let head = |status, length, body, keeps_open| Some(Head { status, length, body, keeps_open });
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello", head(200, 39, 12, true)),
            ("HTTP/1.1 503 Busy\r\nConnection: Close\r\ncontent-length: 0\r\n\r\n", head(503, 59, 0, false)),
            ("HTTP/1.1 200 OK\r\nContent-Le", None),
        ] {
            assert_eq!(parse(answer.as_bytes()).unwrap(), expected, "{answer}");
        }
        for broken in ["HTTP/1.1 200 OK\r\n\r\n", "220 mail.example ready\r\n\r\n"] {
            assert!(parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
