//! `heddle-peer dns`: a name server for a few names, over UDP and TCP.
//!
//! The zone is a text file of lines `NAME SECONDS A|AAAA ADDRESS`, read for each question, so that a test changes it by
//! writing it. `NAME FAILS` answers every question for the name with SERVFAIL. It knows as much of RFC 1035 as the agent's
//! questions need: one question per message, answers without compression but for the question's name, TC where an answer
//! is too long for UDP.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::print;
use super::report::ServerEvent;

#[derive(Args)]
pub(super) struct Dns {
    /// Where to listen, with both protocols.
    #[arg(long, default_value = "127.0.0.1:53")]
    listen: SocketAddr,
    /// The zone's file.
    #[arg(long)]
    zone: PathBuf,
}

/// What fits into a datagram without EDNS, RFC 1035 section 4.2.1.
const LONGEST_DATAGRAM: usize = 512;
const HEADER: usize = 12;
const INTERNET: u16 = 1;
/// Of the header's second line: this is an answer, of someone with authority, and recursion is available.
const ANSWER: u16 = 0x8000 | 0x0400 | 0x0080;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const SERVER_FAILURE: u16 = 2;
const NO_SUCH_NAME: u16 = 3;

pub(super) fn run(dns: &Dns) -> Result<()> {
    let zone: Arc<Path> = dns.zone.as_path().into();
    let udp = UdpSocket::bind(dns.listen).with_context(|| format!("listening on {} with UDP", dns.listen))?;
    let tcp = TcpListener::bind(dns.listen).with_context(|| format!("listening on {} with TCP", dns.listen))?;
    print(&ServerEvent::Listening { addresses: vec![udp.local_addr()?] })?;
    let of_streams = Arc::clone(&zone);
    std::thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            let zone = Arc::clone(&of_streams);
            std::thread::spawn(move || serve_stream(stream, &zone));
        }
    });
    let mut buffer = [0; 2048];
    loop {
        let (count, from) = udp.recv_from(&mut buffer)?;
        // What is no question gets no answer.
        if let Ok(answer) = answer(&buffer[..count], &zone, false) {
            udp.send_to(&answer, from)?;
        }
    }
}

fn serve_stream(mut stream: TcpStream, zone: &Path) -> Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message)?;
        let answer = answer(&message, zone, true)?;
        stream.write_all(&u16::try_from(answer.len())?.to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

/// A question as it was sent, and in words.
struct Question<'a> {
    bytes: &'a [u8],
    name: String,
    record: u16,
}

fn answer(message: &[u8], zone: &Path, tcp: bool) -> Result<Vec<u8>> {
    let question = question(message)?;
    print(&ServerEvent::Asked { name: question.name.clone(), record: record_name(question.record).to_owned(), tcp })?;
    let zone = fs::read_to_string(zone).with_context(|| format!("reading {}", zone.display()))?;
    let found = records(&zone, &question)?;
    let recursion = u16::from_be_bytes([message[2], message[3]]) & RECURSION_DESIRED;
    let (code, records) = match &found {
        Some(records) => (0, records.as_slice()),
        None => (SERVER_FAILURE, [].as_slice()),
    };
    let known = zone.lines().any(|line| line.split_whitespace().next() == Some(question.name.as_str()));
    let code = if known { code } else { NO_SUCH_NAME };
    let mut whole = header(message, ANSWER | recursion | code, records.len())?;
    whole.extend(question.bytes);
    records.iter().for_each(|(seconds, address)| whole.extend(encode(*seconds, *address)));
    if tcp || whole.len() <= LONGEST_DATAGRAM {
        return Ok(whole);
    }
    let mut cut = header(message, ANSWER | recursion | TRUNCATED, 0)?;
    cut.extend(question.bytes);
    Ok(cut)
}

fn question(message: &[u8]) -> Result<Question<'_>> {
    ensure!(message.len() > HEADER && message[4..6] == [0, 1], "not a message with one question");
    let (mut labels, mut at) = (Vec::new(), HEADER);
    loop {
        let length = usize::from(*message.get(at).context("the name has no end")?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = message.get(at..at + length).context("the name has no end")?;
        labels.push(std::str::from_utf8(label)?.to_ascii_lowercase());
        at += length;
    }
    let kind = message.get(at..at + 4).context("the question has no type")?;
    let (record, class) = (u16::from_be_bytes([kind[0], kind[1]]), u16::from_be_bytes([kind[2], kind[3]]));
    ensure!(class == INTERNET, "a question of class {class}");
    Ok(Question { bytes: &message[HEADER..at + 4], name: labels.join("."), record })
}

/// The records that answer a question; nothing where the name is one that fails.
fn records(zone: &str, question: &Question<'_>) -> Result<Option<Vec<(u32, IpAddr)>>> {
    let mut found = Vec::new();
    for line in zone.lines() {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] => {}
            [name, "FAILS"] if *name == question.name => return Ok(None),
            [_, "FAILS"] => {}
            [name, seconds, record, address] => {
                if *name == question.name && *record == record_name(question.record) {
                    found.push((seconds.parse()?, address.parse()?));
                }
            }
            _ => bail!("no line of a zone: {line}"),
        }
    }
    Ok(Some(found))
}

fn record_name(record: u16) -> &'static str {
    match record {
        1 => "A",
        28 => "AAAA",
        _ => "other",
    }
}

fn header(message: &[u8], flags: u16, answers: usize) -> Result<Vec<u8>> {
    let mut header = message[..2].to_vec();
    for field in [flags, 1, u16::try_from(answers)?, 0, 0] {
        header.extend(field.to_be_bytes());
    }
    Ok(header)
}

fn encode(seconds: u32, address: IpAddr) -> Vec<u8> {
    let (record, data) = match address {
        IpAddr::V4(address) => (1_u16, address.octets().to_vec()),
        IpAddr::V6(address) => (28, address.octets().to_vec()),
    };
    // A pointer to the question's name.
    let mut bytes = vec![0xc0, 12];
    bytes.extend(record.to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    bytes.extend(seconds.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}
