//! A cache, and what can be done to it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use membrane_testservers::{Redis, RedisOptions};

#[test]
fn a_cache_keeps_what_it_is_given_until_it_is_emptied_or_started_again() {
    let redis = Redis::start().expect("Redis or Valkey is installed");
    assert_eq!(redis.url(), format!("redis://127.0.0.1:{}", redis.port()));
    let set = || redis.command(&["SET", "key", "two words"]).expect("it is running");
    let get = || redis.command(&["GET", "key"]).expect("it is running");
    set();
    assert_eq!(get(), "two words");
    redis.flush_all().expect("it is running");
    assert_eq!(get(), "");
    set();
    redis.restart().expect("it comes up");
    assert_eq!(get(), "");
    redis.stop().expect("it is running");
    assert!(redis.command(&["PING"]).is_err());
    redis.restart().expect("it comes up on the same port");
    assert_eq!(redis.command(&["PING"]).expect("it is running"), "PONG");
}

#[test]
fn a_paused_cache_takes_connections_and_says_nothing_until_it_goes_on() {
    let redis = Redis::start().expect("Redis or Valkey is installed");
    redis.pause().expect("it is running");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port())).expect("the system takes it");
    stream.write_all(b"PING\r\n").expect("the system takes it");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("it is a socket");
    let mut answer = [0; 7];
    let silence = stream.read_exact(&mut answer).expect_err("a cache that stands still answered");
    assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence}");
    redis.resume().expect("it is paused");
    stream.set_read_timeout(None).expect("it is a socket");
    stream.read_exact(&mut answer).expect("it answers what was asked meanwhile");
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn a_password_and_a_limit_are_in_force() {
    let options = RedisOptions::default().password("hu\"sh").max_memory(4 << 20);
    let redis = Redis::start_with(&options).expect("Redis or Valkey is installed");
    assert_eq!(redis.command(&["PING"]).expect("it knows the password"), "PONG");
    assert!(redis.url().starts_with("redis://:hu%22sh@"), "{}", redis.url());
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port())).expect("it is running");
    stream.write_all(b"PING\r\n").expect("it is running");
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"-NOAUTH");
    let value = "x".repeat(1 << 20);
    for number in 0..8 {
        redis.command(&["SET", &number.to_string(), &value]).expect("it forgets what is old");
    }
    let n_keys: u32 = redis.command(&["DBSIZE"]).expect("it is running").parse().expect("it is a number");
    assert!(n_keys < 8, "{n_keys} MiB are kept in 4");
    assert!(!format!("{redis:?}{}", redis.log()).contains("hu\"sh"));
}
