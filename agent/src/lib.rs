//! Heddle's node agent, as a library so that its decisions can be called by every command and by the tests.
//!
//! Read `connection.rs` first: it follows one connection through the folders, and each folder is one step.

pub mod admin;
pub mod app;
mod atomics;
pub mod authorize;
pub mod balance;
pub mod ca;
pub mod capture;
mod causes;
pub mod check;
pub mod cli;
pub mod config;
pub mod connect;
pub mod connection;
pub mod explain;
pub mod failure;
pub mod fuzz;
pub mod handover;
pub mod identify;
pub mod mesh;
pub mod names;
pub mod native;
pub mod node;
pub mod objects;
pub mod observe;
pub mod outside;
pub mod privileges;
pub mod request;
pub mod route;
pub mod rules;
pub mod shares;
pub mod simulate;
pub mod target;
pub mod unix_socket;
