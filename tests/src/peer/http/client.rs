//! `heddle-peer http`: does what each line of its standard input says, and prints what came of it on one line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::report::{Answer, Ask, Done, Order, Raw, RawAnswer, What};
use super::{wire1, wire2};
use crate::peer::{errno, print};

#[derive(Args)]
pub(crate) struct Http {}

pub(crate) fn run(_: &Http) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            let order: Order = serde_json::from_str(&line).with_context(|| format!("`{line}` is no order"))?;
            // Orders do not wait for each other; their answers tell them apart.
            tokio::spawn(async move {
                let done = match order.what {
                    What::Ask(ask) => Done { id: order.id, answers: all(ask).await, raw: None },
                    What::Raw(raw) => Done { id: order.id, answers: Vec::new(), raw: Some(send_raw(&raw).await) },
                };
                print(&done)
            });
        }
        Ok(())
    })
}

async fn all(ask: Ask) -> Vec<Answer> {
    let ask = Arc::new(ask);
    let connections = ask.connections.clamp(1, ask.times.max(1));
    let share = |number: u32| ask.times / connections + u32::from(number < ask.times % connections);
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..connections {
        let (ask, times) = (Arc::clone(&ask), share(number));
        asking.spawn(async move { over_one(&ask, number, times).await });
    }
    asking.join_all().await.concat()
}

async fn over_one(ask: &Ask, number: u32, times: u32) -> Vec<Answer> {
    let (mut answers, mut link) = (Vec::new(), None);
    for _ in 0..times {
        let mut answer = one(ask, &mut link).await;
        answer.connection = number;
        answers.push(answer);
    }
    answers
}

/// A connection that is kept between requests.
pub(super) enum Link {
    One(Box<wire1::Connection>),
    Two(wire2::Connection),
}

impl Link {
    async fn open(ask: &Ask) -> Result<Self, String> {
        let stream = TcpStream::connect(ask.to).await.map_err(|error| format!("connect: {}", errno::name(&error)))?;
        stream.set_nodelay(true).map_err(|error| errno::name(&error))?;
        if ask.h2 {
            return wire2::Connection::new(stream).await.map(Self::Two).map_err(|error| error.to_string());
        }
        Ok(Self::One(Box::new(wire1::Connection::new(stream))))
    }

    fn is_open(&self) -> bool {
        match self {
            Self::One(link) => link.is_open(),
            Self::Two(link) => link.is_open(),
        }
    }
}

/// One request over the connection if it is open, and else over a new one.
pub(super) async fn one(ask: &Ask, link: &mut Option<Link>) -> Answer {
    let limit = Duration::from_millis(ask.timeout_ms);
    let exchanged = timeout(limit, async {
        if link.as_ref().is_none_or(|link| !link.is_open()) {
            *link = Some(Link::open(ask).await?);
        }
        Ok(match link {
            Some(Link::One(link)) => link.exchange(ask).await,
            Some(Link::Two(link)) => link.exchange(ask).await,
            None => Answer::default(),
        })
    });
    match exchanged.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer { error: Some(error), ..Answer::default() },
        Err(_) => {
            *link = None;
            Answer { error: Some("timeout".to_owned()), ms: limit.as_secs_f64() * 1e3, ..Answer::default() }
        }
    }
}

async fn send_raw(raw: &Raw) -> RawAnswer {
    let begin = Instant::now();
    let mut answer = RawAnswer::default();
    let ended = exchange_raw(raw, &mut answer, begin).await;
    answer.ended = ended.unwrap_or_else(|error| errno::name(&error));
    answer.ms = begin.elapsed().as_secs_f64() * 1e3;
    answer
}

async fn exchange_raw(raw: &Raw, answer: &mut RawAnswer, begin: Instant) -> std::io::Result<String> {
    let (mut reader, mut writer) = TcpStream::connect(raw.to).await?.into_split();
    let sending = async {
        for (number, piece) in raw.pieces.iter().enumerate() {
            if number > 0 {
                sleep(Duration::from_millis(raw.pause_ms)).await;
            }
            let bytes: Vec<u8> = piece.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
            // The answer may have come, and the connection gone, before all is sent.
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
        sleep(Duration::from_millis(raw.wait_ms)).await;
    };
    let reading = async {
        let mut buffer = vec![0; super::CHUNK];
        loop {
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                return Ok("eof".to_owned());
            }
            answer.first_ms.get_or_insert(begin.elapsed().as_secs_f64() * 1e3);
            answer.received.extend(buffer[..count].iter().map(|byte| char::from(*byte)));
            if raw.until.as_ref().is_some_and(|until| answer.received.contains(until)) {
                return Ok("until".to_owned());
            }
        }
    };
    tokio::pin!(sending, reading);
    tokio::select! {
        ended = &mut reading => ended,
        () = &mut sending => Ok("open".to_owned()),
    }
}
