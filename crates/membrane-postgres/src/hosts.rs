//! Several servers in one URL, of which one is the primary.
//!
//! The driver asks one after the other, and gives each some time to take the connection, but none to answer on it: one that
//! stands still would keep the others from ever being asked. So each is a configuration of its own here.

use std::time::Duration;

use futures_util::future::select_ok;
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::{Client, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connect::Stream;

/// The servers that a URL names.
#[derive(Clone)]
pub(crate) struct Hosts {
    each: Vec<Config>,
    /// How long one may take before the next is asked.
    share: Duration,
}

impl Hosts {
    /// Those of a configuration. All together are asked within `time`.
    pub(crate) fn of(config: &Config, time: Duration) -> Self {
        let mut each = each(config);
        let n_hosts = u32::try_from(each.len()).unwrap_or(u32::MAX);
        // And once more for those that need longer.
        let share = time / n_hosts.saturating_add(1);
        if n_hosts > 1 {
            for host in &mut each {
                // Of the addresses that a name has, the second is tried within the share, too.
                host.connect_timeout(share / 2);
            }
        }
        Self { each, share }
    }

    /// Asks one after the other; then those again, all at once, that have not answered within their share: a primary that is
    /// only slow is not passed over for good.
    pub(crate) async fn connect(
        &self,
        tls: &MakeRustlsConnect,
    ) -> Result<(Client, Connection<Socket, Stream>), Error> {
        if let [host] = self.each.as_slice() {
            return host.connect(tls.clone()).await;
        }
        let (mut slow, mut refusal) = (Vec::new(), None);
        for host in &self.each {
            match tokio::time::timeout(self.share, host.connect(tls.clone())).await {
                Ok(Ok(made)) => return Ok(made),
                Ok(Err(error)) => refusal = Some(error),
                Err(_) => slow.push(host),
            }
        }
        match refusal {
            Some(error) if slow.is_empty() => Err(error),
            _ => {
                let again = slow.into_iter().map(|host| Box::pin(host.connect(tls.clone())));
                select_ok(again).await.map(|(made, _)| made)
            }
        }
    }
}

/// A configuration for each host, in their order. One for all of them where the driver is to choose, or to refuse what does not
/// go together.
fn each(config: &Config) -> Vec<Config> {
    let n_hosts = config.get_hosts().len();
    let goes_together = |n_others: usize, may_be_one: bool| {
        n_others == 0 || n_others == n_hosts || (may_be_one && n_others == 1)
    };
    if n_hosts < 2
        || config.get_load_balance_hosts() != LoadBalanceHosts::Disable
        || !goes_together(config.get_hostaddrs().len(), false)
        || !goes_together(config.get_ports().len(), true)
    {
        return vec![config.clone()];
    }
    config.get_hosts().iter().enumerate().map(|(number, host)| only(config, number, host)).collect()
}

fn only(config: &Config, number: usize, host: &Host) -> Config {
    let mut one = Config::new();
    match host {
        Host::Tcp(name) => one.host(name),
        Host::Unix(folder) => one.host_path(folder),
    };
    if let Some(address) = config.get_hostaddrs().get(number) {
        one.hostaddr(*address);
    }
    if let Some(port) = config.get_ports().get(number).or(config.get_ports().first()) {
        one.port(*port);
    }
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(database) = config.get_dbname() {
        one.dbname(database);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        one.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding());
    one
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn parts(url: &str) -> Vec<Config> {
        each(&Config::from_str(url).expect("it is one"))
    }

    #[test]
    fn each_host_has_its_port_and_all_that_is_the_same_for_all() {
        let options = "connect_timeout=7&tcp_user_timeout=8&keepalives=0&keepalives_idle=9&keepalives_interval=10&\
                       keepalives_retries=11&sslmode=require&sslnegotiation=direct&target_session_attrs=read-write&\
                       channel_binding=require&application_name=a&options=-c%20x.y%3D1";
        for (url, hosts) in [
            ("postgresql://me:secret@one:1,two:2/db", [("one", 1), ("two", 2)]),
            ("postgresql://me:secret@one,two/db", [("one", 5432), ("two", 5432)]),
        ] {
            let found = parts(&format!("{url}?{options}"));
            let alone = |(host, port): (&str, u16)| {
                Config::from_str(&format!("postgresql://me:secret@{host}:{port}/db?{options}"))
                    .expect("it is one")
            };
            assert_eq!(found, hosts.map(alone), "{url}");
        }
        let sockets = parts("host=/run/one,two port=6 user=me");
        assert_eq!(sockets.len(), 2);
    }

    #[test]
    fn what_the_driver_is_to_choose_or_to_refuse_is_left_to_it() {
        for url in [
            "postgresql://one/db",
            "postgresql://one,two/db?load_balance_hosts=random",
            "host=one,two port=1,2,3 user=me",
            "host=one,two hostaddr=127.0.0.1 user=me",
        ] {
            assert_eq!(parts(url), [Config::from_str(url).expect("it is one")], "{url}");
        }
    }
}
