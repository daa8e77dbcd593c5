//! The documented HAProxy configuration, with nothing changed but addresses: its checks are the agents'
//! lease-gated URLs, and it never leads a writer to a standby.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use continuum_chaos::Lab;
use continuum_chaos::history::Outcome as Said;
use continuum_chaos::lab::Error;
use continuum_chaos::workload::{Connection, OWNER_ROLE};
use continuum_domain::RegionId;
use continuum_domain::operation::Method;
use continuum_tests::*;

const EXAMPLE: &str = include_str!("../../../docs/examples/haproxy.cfg");
const LIMIT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(1);

struct HaProxy {
    child: Child,
    primary: SocketAddr,
    standby: SocketAddr,
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn environment(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |reason| Error::Environment { what, reason }
}

/// The example with the lab's addresses.
fn configuration(lab: &Lab, ports: [u16; 2]) -> Result<String, Error> {
    let mut text = EXAMPLE.to_owned();
    let mut replace = |from: &str, to: String| {
        assert!(text.contains(from), "the example has no {from}");
        text = text.replace(from, &to);
    };
    replace("10.1.0.30:5000", format!("127.0.0.1:{}", ports[0]));
    replace("10.1.0.30:5001", format!("127.0.0.1:{}", ports[1]));
    for (region, number) in [(fsn(), 1), (hel(), 2)] {
        let place = lab.layout.region(&region).expect("a region of the lab");
        let (address, port) = (place.address, lab.layout.postgres_port);
        replace(&format!("10.{number}.0.5:5432"), format!("{address}:{port}"));
        let agent = format!("addr {} port {}", place.peer_address, place.health_port);
        replace(&format!("addr 10.{number}.0.10 port 7442"), agent);
    }
    Ok(text)
}

fn start(lab: &Lab) -> Result<HaProxy, Error> {
    let port = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let at = [port(), port()].map(|port| port.map_err(environment("a free port")));
    let [primary, standby] = at;
    let (primary, standby) = (primary?, standby?);
    let file = lab.layout.directory.join("haproxy.cfg");
    std::fs::write(&file, configuration(lab, [primary.port(), standby.port()])?)
        .map_err(environment("haproxy.cfg"))?;
    let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"];
    let program = program.into_iter().find(|program| std::path::Path::new(program).is_file());
    let program = program.ok_or_else(|| Error::Options("haproxy: run make pgbouncer".into()))?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(&file).current_dir(&lab.layout.directory);
    let log = std::fs::File::create(lab.layout.directory.join("log/haproxy.log"));
    let log = log.map_err(environment("haproxy's log"))?;
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    Ok(HaProxy { child: child.map_err(environment("haproxy"))?, primary, standby })
}

/// The server that a new session reaches, and whether it is in recovery.
async fn reached(at: SocketAddr) -> Result<(IpAddr, bool), String> {
    let connection = Connection::open(OWNER_ROLE, at, PATIENCE).await?;
    let look = "SELECT host(inet_server_addr()) || ' ' || pg_is_in_recovery()";
    let said = tokio::time::timeout(PATIENCE, connection.said(look)).await;
    match said.map_err(|_| "no answer".to_owned())? {
        (Said::Acknowledged, Some(text)) => {
            let (address, recovery) = text.split_once(' ').ok_or("an odd answer")?;
            Ok((address.parse().map_err(|_| text.clone())?, recovery == "true"))
        }
        (other, _) => Err(format!("{other:?}")),
    }
}

/// Waits until writers are led to `region`; until then nobody may be led to a standby.
async fn wait_led(lab: &Lab, balancer: &HaProxy, region: &RegionId) -> Outcome {
    let wanted = lab.address(region)?;
    lab.until(&format!("HAProxy to lead to {region}"), LIMIT, async || {
        match reached(balancer.primary).await {
            Ok((_, true)) => panic!("a writer was led to a standby"),
            Ok((address, false)) if address == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_haproxy_leads_writers_to_the_holder_and_readers_to_a_standby() -> Outcome {
    let mut lab = Lab::start(quick()).await?;
    let balancer = start(&lab)?;
    wait_led(&lab, &balancer, &fsn()).await?;
    lab.until("a reader at the standby", LIMIT, async || match reached(balancer.standby).await {
        Ok((_, true)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    // A session that stays open while the primary moves is ended, not left at a standby.
    let pinned = Connection::open(OWNER_ROLE, balancer.primary, PATIENCE).await;
    let pinned = pinned.map_err(Error::Options)?;
    switch_over(&lab, &fsn(), &hel(), Method::Clean).await?;
    wait_led(&lab, &balancer, &hel()).await?;
    lab.until("the old session's end", LIMIT, async || match pinned.is_closed() {
        true => Ok(()),
        false => Err("it is open".into()),
    })
    .await?;
    lab.kill_region(&hel()).await?;
    wait_led(&lab, &balancer, &fsn()).await?;
    drop(balancer);
    lab.stop().await
}
