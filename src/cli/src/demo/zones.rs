//! The demo's zone: published, asked for at every node's name server, and changed while a node is down.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use synod_app_zones::{Expected, ZoneChange, ZoneName, ZonesOp};
use synod_types::{ContentKey, Outcome, StateNdx};
use synod_zone::{Name, Rtype, Zone};

use super::report::Lines;
use super::{CALL_WAIT, Stage};
use crate::dns_query;
use crate::founding::ZONES;
use crate::propagation::{Change, Propagation, Reach, resolve};
use crate::write;
use crate::zone::publish;

/// The zone's name.
pub(super) const ZONE: &str = "demo.example";
/// Its file, with the serial 1.
const FILE: &str = include_str!("demo.example.zone");
/// Where the file is, for people to change it.
pub(super) const FILE_NAME: &str = "demo.example.zone";
/// The record that the change is about, and what it is changed to.
const WWW: (&str, Ipv4Addr) = ("192.0.2.80", Ipv4Addr::new(192, 0, 2, 80));
const WWW_CHANGED: (&str, Ipv4Addr) = ("192.0.2.90", Ipv4Addr::new(192, 0, 2, 90));
/// The longest wait for one DNS answer.
const DNS_WAIT: Duration = Duration::from_secs(2);

/// What the name servers are to answer.
#[derive(Clone, Copy)]
pub(super) struct Published {
    pub(super) state_ndx: StateNdx,
    serial: u32,
    www: Ipv4Addr,
}

impl Stage {
    /// Publishes the zone and waits until every node answers from it.
    pub(super) async fn publish(&self) -> anyhow::Result<(Published, Lines)> {
        std::fs::write(self.founded.directory.join(FILE_NAME), FILE)?;
        self.set(FILE, WWW.1, Expected::Absent, Reach::All).await
    }

    /// Changes it and waits until a majority answers from it: not all of them run.
    pub(super) async fn change_zone(&self) -> anyhow::Result<(Published, Lines)> {
        let before = ContentKey::of(FILE.as_bytes());
        let file = FILE.replacen("1       ; serial", "2       ; serial", 1).replacen(WWW.0, WWW_CHANGED.0, 1);
        std::fs::write(self.founded.directory.join(FILE_NAME), &file)?;
        self.set(&file, WWW_CHANGED.1, Expected::Content(before), Reach::Quorum).await
    }

    async fn set(
        &self,
        file: &str,
        www: Ipv4Addr,
        expected: Expected,
        reach: Reach,
    ) -> anyhow::Result<(Published, Lines)> {
        let origin = Name::parse(ZONE)?;
        let file = Bytes::from(file.to_owned());
        let zone = Zone::load(&origin, &file)?;
        let (serial, content) = (zone.serial(), ContentKey::of(&file));
        let bytes = u64::try_from(file.len())?;
        publish::upload(&self.client, &self.founded.genesis, None, ZONES, file).await?;
        let zone = ZoneName::of(&origin);
        let change = ZoneChange { zone, content, bytes, serial, force: false, expected };
        let receipt = write::receipt(&self.client, ZONES, ZonesOp::Set(change).encode()).await?;
        if let Outcome::Refused(refusal) = &receipt.outcome {
            bail!("the application refused: {refusal}");
        }
        let published = Published { state_ndx: receipt.state_ndx, serial, www };
        let live = self.wait_until_live(published, reach).await?;
        let line = format!("serial {serial}, stateNdx {}, live at {live}", receipt.state_ndx);
        Ok((published, vec![line]))
    }

    /// Waits as `synod zone set --wait` does; says where the zone is live.
    async fn wait_until_live(&self, published: Published, reach: Reach) -> anyhow::Result<String> {
        let Published { state_ndx, .. } = published;
        let (genesis, cluster) = (&self.founded.genesis, self.founded.cluster);
        let propagation = Propagation::new(genesis, cluster, self.reader.clone())?;
        let change = Change { app: ZONES, state_ndx, zone: Some(Name::parse(ZONE)?) };
        let waited = propagation.wait(&change, reach, CALL_WAIT, |_| {}).await?;
        ensure!(waited.is_live, "stateNdx {state_ndx} is not live at {}", waited.standings.missing());
        let live: Vec<&str> = waited.standings.live().collect();
        Ok(format!("{} after {:.0} ms", live.join(", "), waited.took.as_secs_f64() * 1000.0))
    }

    /// Asks every running node's name server: the address, and the state from which the answer comes.
    pub(super) async fn ask_name_servers(&self, published: Published) -> anyhow::Result<((), Lines)> {
        let www = Name::parse(&format!("www.{ZONE}"))?;
        let mut lines = Vec::new();
        for node in self.running() {
            let address = node.dns.as_ref().context("every node of the demo is a name server")?;
            let server = resolve(address).await.map_err(anyhow::Error::msg)?;
            let answer = dns_query::ask(server, &www, Rtype::A, DNS_WAIT).await?;
            let rcode = dns_query::rcode_name(answer.rcode);
            let found: Vec<Ipv4Addr> = answer.records.iter().filter_map(|record| record.ipv4()).collect();
            ensure!(
                answer.rcode == dns_query::NOERROR && answer.is_authoritative && found == [published.www],
                "{} answers {rcode} with {found:?}, and {} was published",
                node.name,
                published.www
            );
            ensure!(
                answer.serial == Some(published.serial)
                    && answer.state_ndx.is_some_and(|at| at >= published.state_ndx),
                "{} answers from serial {:?} in stateNdx {:?}; serial {} was published in stateNdx {}",
                node.name,
                answer.serial,
                answer.state_ndx,
                published.serial,
                published.state_ndx
            );
            let (serial, at) = (published.serial, answer.state_ndx.unwrap_or_default());
            lines.push(format!(
                "{}  {server}  www.{ZONE}. A {}  serial {serial}, stateNdx {at}",
                node.name, published.www
            ));
        }
        ensure!(lines.len() == self.processes.len(), "not every node was asked");
        Ok(((), lines))
    }

    /// Waits until the node that was down answers from the change, too, and asks all of them.
    pub(super) async fn ask_everywhere(&self, published: Published) -> anyhow::Result<((), Lines)> {
        self.wait_until_live(published, Reach::All).await?;
        self.ask_name_servers(published).await
    }

    /// The lines to copy: what anybody can ask, and what the commander can do.
    pub(super) fn zone_to_try(&self) -> (String, String) {
        let dns: Vec<&str> = self.reader.nodes().iter().filter_map(|node| node.dns.as_deref()).collect();
        let dig =
            |n: usize, rest: &str| match dns.get(n % dns.len().max(1)).and_then(|dns| dns.rsplit_once(':')) {
                Some((host, port)) => format!("  dig @{host} -p {port} {rest}\n"),
                None => String::new(),
            };
        let file = self.founded.directory.join(FILE_NAME);
        let file = file.display();
        let asks = [
            dig(0, &format!("www.{ZONE} A")),
            dig(1, &format!("_state.{ZONE} TXT +short          # the stateNdx from which it answers")),
            dig(2, &format!("{ZONE} SOA +ednsopt=19            # the same, in every answer (RFC 9660)")),
        ];
        let commands = [
            format!("  ${{EDITOR:-vi}} {file}    # change it, and raise the serial\n"),
            format!("  synod zone diff {ZONE} {file}\n  synod zone set {ZONE} {file} --wait all\n"),
            format!("  synod zone history {ZONE}\n"),
        ];
        (asks.concat(), commands.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_and_its_change_are_in_order() {
        let origin = Name::parse(ZONE).unwrap();
        let zone = Zone::load(&origin, FILE.as_bytes()).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(zone.serial(), 1);
        assert_eq!(FILE.matches("1       ; serial").count(), 1);
        assert_eq!(FILE.matches(WWW.0).count(), 1);
    }
}
