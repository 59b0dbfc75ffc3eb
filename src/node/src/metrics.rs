//! What a node measures of itself, in Prometheus' text format.
//!
//! What is counted anyway (by the mesh, the back end, the name server) and what stands in a state is read when somebody
//! asks. What is timed is recorded where it happens: `synod_verify_seconds` by the verifier,
//! `synod_journal_sync_seconds` by the journal's writer, the others here in the node. The names are in docs/OPERATIONS.md.
//!
//! Measurements belong to the process. Several nodes in one process, as in tests, share them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use synod_backend::CounterValues;
use synod_dns::{Counts, Traffic};
use synod_gateway::{CertificateStatus, CertificateUse, GroupRole, NodeState};
use synod_journal::Journal;
use synod_mesh::MeshCounters;
use synod_types::TimeMs;
use tracing::warn;

use crate::certificates::Certificates;
use crate::status::StatusSource;

/// How often what was recorded is summed up, whether anybody asks or not: until then each recorded time takes memory.
const UPKEEP: Duration = Duration::from_secs(5);
/// Upper bounds of the buckets in which times are counted, in seconds.
const SECONDS: [f64; 16] = [
    0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    30.0,
];

/// The process's measurements.
#[derive(Clone)]
pub(crate) struct Metrics {
    recorded: PrometheusHandle,
    process: Arc<Collector>,
    sources: Arc<OnceLock<Box<dyn Source>>>,
}

/// Where things are counted and known.
pub(crate) trait Source: Send + Sync {
    /// Measures them.
    fn collect(&self);
}

/// Those of a node.
pub(crate) struct Sources {
    pub status: Arc<StatusSource>,
    pub journal: Journal,
    pub backend: Box<dyn Fn() -> CounterValues + Send + Sync>,
    pub dns: Option<Box<dyn Fn() -> Counts + Send + Sync>>,
}

impl Metrics {
    /// Measurements for a node that starts. What is recorded in this process is kept from now on.
    pub(crate) fn new() -> Metrics {
        static RECORDED: OnceLock<PrometheusHandle> = OnceLock::new();
        let recorded = RECORDED.get_or_init(|| {
            let recorder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
                .expect("there are buckets")
                .build_recorder();
            let handle = recorder.handle();
            if let Err(why) = metrics::set_global_recorder(recorder) {
                warn!(%why, "this process measures elsewhere; nothing of it is told here");
            }
            describe();
            handle
        });
        Metrics { recorded: recorded.clone(), process: Arc::default(), sources: Arc::default() }
    }

    /// From now on there is more to tell than what was recorded.
    pub(crate) fn begin(&self, sources: impl Source + 'static) {
        // A node begins once.
        let _ = self.sources.set(Box::new(sources));
    }

    /// Sums up what is recorded, again and again.
    pub(crate) async fn keep_up(self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.recorded.run_upkeep();
        }
    }
}

impl synod_gateway::Metrics for Metrics {
    fn render(&self) -> String {
        self.process.collect();
        if let Some(sources) = self.sources.get() {
            sources.collect();
        }
        self.recorded.render()
    }
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("synod_build_info", "1, with the program's version as a label");
    describe_gauge!(
        "synod_state_ndx",
        "Commands and expiries that the application has executed on this node"
    );
    describe_gauge!("synod_applied_slot", "The last slot that this node has applied");
    describe_gauge!("synod_lag_slots", "Slots that this node knows to be chosen and has not applied");
    describe_gauge!(
        "synod_behind_states",
        "States of the application that another node has, as is said, and this one does not"
    );
    describe_gauge!("synod_is_leader", "1 if this node leads the application");
    describe_gauge!("synod_has_leader", "1 if this node sees a leader of the application");
    describe_gauge!("synod_ballot_number", "The number of the highest ballot that this node has promised");
    describe_gauge!("synod_open_slots", "Slots that this node has proposed in and that are not chosen");
    describe_gauge!("synod_queued_commands", "Commands that wait at this node, as leader, for a slot");
    describe_counter!("synod_leader_changes_total", "How often the leader that this node sees has changed");
    describe_counter!("synod_commands_total", "Commands that this node has applied, by what came of them");
    describe_histogram!(
        "synod_command_seconds",
        Unit::Seconds,
        "From a command's entry at this node to its answer"
    );
    describe_histogram!(
        "synod_verify_seconds",
        Unit::Seconds,
        "Verifying the signatures of commands that came together"
    );
    describe_histogram!("synod_journal_sync_seconds", Unit::Seconds, "Making what was written durable");
    describe_histogram!("synod_apply_seconds", Unit::Seconds, "Applying one decree");
    describe_gauge!("synod_disk_is_slow", "1 while this node's disk is much slower than those of the others");
    describe_gauge!("synod_journal_bytes", Unit::Bytes, "The log on disk");
    describe_gauge!("synod_journal_waiting_bytes", Unit::Bytes, "Records that are not durable yet");
    describe_gauge!("synod_peer_up", "1 if messages flow to the node and from it");
    describe_gauge!(
        "synod_peer_rtt_seconds",
        Unit::Seconds,
        "The round trip to the node, as QUIC estimates it"
    );
    describe_counter!(
        "synod_scrub_bytes_total",
        Unit::Bytes,
        "What was read to see whether it is as it was written"
    );
    describe_counter!(
        "synod_scrub_damaged_total",
        "Records and files that were found to be damaged, by what they are"
    );
    describe_gauge!(
        "synod_scrub_passed_seconds",
        Unit::Seconds,
        "When everything had been read last, since 1970"
    );
    describe_gauge!(
        "synod_mending_slots",
        "Slots whose records this node cannot read, and searches on the others"
    );
    describe_counter!("synod_mended_slots_total", "Damaged records that were had from other nodes");
    describe_gauge!("synod_archive_bytes", Unit::Bytes, "The application's segments in the archive");
    describe_gauge!("synod_archive_slot", "The last slot of the application that is archived");
    describe_gauge!("synod_peer_queue_bytes", Unit::Bytes, "Messages that wait to be written to the node");
    describe_counter!("synod_peer_reconnects_total", "Sessions to the node after the first one");
    describe_counter!("synod_peer_sent_bytes_total", Unit::Bytes, "Messages written to the node");
    describe_counter!("synod_peer_received_bytes_total", Unit::Bytes, "Messages that came from the node");
    describe_counter!(
        "synod_peer_dropped_total",
        "Messages to the node that were dropped: no session, or no room"
    );
    describe_counter!(
        "synod_mesh_strangers_total",
        "Connections between nodes without a member's certificate and Hello"
    );
    describe_counter!("synod_mesh_applicants_total", "Calls of nodes that are no members, and were told so");
    describe_counter!("synod_mesh_refused_hellos_total", "Hellos of members that were refused");
    describe_counter!("synod_mesh_violations_total", "Sessions of members that were ended for a broken rule");
    describe_counter!(
        "synod_mesh_ignored_total",
        "Connections that were not answered, since too many were being opened"
    );
    describe_counter!(
        "synod_mesh_unsendable_total",
        "Messages larger than a frame, or for nobody, that were not sent"
    );
    describe_counter!(
        "synod_mesh_session_ends_total",
        "Sessions between nodes, and attempts at them, that ended, by why"
    );
    describe_counter!("synod_relayed_commands_total", "Commands of other nodes, taken while nobody led");
    describe_counter!("synod_backend_commands_total", "Commands that came to the commanders' port");
    describe_counter!("synod_backend_refused_total", "Commands refused at the commanders' port, by code");
    describe_gauge!("synod_backend_sessions", "Sessions of commanders over QUIC");
    describe_counter!(
        "synod_backend_sessions_broken_total",
        "Sessions closed because the other side broke a rule"
    );
    describe_counter!("synod_backend_http_requests_total", "Requests to the commanders' port over HTTPS");
    describe_gauge!(
        "synod_backend_held_bytes",
        Unit::Bytes,
        "Commands and files that wait for their answers"
    );
    describe_gauge!(
        "synod_certificate_expiry_seconds",
        Unit::Seconds,
        "When the certificate expires, in seconds since 1970; of several authorities, the first to expire"
    );
    describe_counter!(
        "synod_certificate_reload_failures_total",
        "How often files with certificates were read again and were not in order"
    );
    describe_gauge!("synod_front_connected", "1 while this front end is connected to its node");
    describe_counter!("synod_front_connections_total", "How often this front end has connected to its node");
    describe_gauge!(
        "synod_front_behind_slots",
        "Slots of the application that this front end's node has applied, and the front end has not"
    );
    describe_counter!(
        "synod_front_decrees_total",
        "Decrees of the application that this front end has executed"
    );
    describe_counter!(
        "synod_front_wholes_total",
        "Whole states of the application that this front end has taken from its node"
    );
    describe_counter!("synod_dns_queries_total", "DNS messages that came, by carrier");
    describe_counter!(
        "synod_dns_replies_total",
        "DNS answers, by carrier and the low four bits of their RCODE"
    );
    describe_counter!(
        "synod_dns_dropped_total",
        "DNS answers that the operating system did not take, by carrier"
    );
    describe_counter!("synod_dns_limited_total", "DNS queries beyond the rate limit, by carrier");
    describe_counter!("synod_dns_malformed_total", "DNS messages that got no answer, by carrier");
    describe_counter!(
        "synod_route_events_total",
        "What became of messages and questions between front ends of different nodes, by event"
    );
    Collector::default().describe();
}

impl Source for Sources {
    fn collect(&self) {
        let status = self.status.status();
        gauge!("synod_build_info", "version" => status.version).set(1.0);
        let groups = self.status.groups.load();
        for app in status.apps {
            let labels = [("app", app.app_ndx.to_string()), ("name", app.name)];
            let set = |name: &'static str, value: u64| gauge!(name, &labels).set(float(value));
            set("synod_state_ndx", app.state_ndx.0);
            set("synod_applied_slot", app.applied.0);
            set("synod_lag_slots", app.lag);
            set("synod_is_leader", u64::from(app.role == GroupRole::Leader));
            set("synod_has_leader", u64::from(app.leader.is_some()));
            if let Some(group) = groups.get(&app.app_ndx) {
                set("synod_ballot_number", group.promised.number);
                set("synod_open_slots", count(group.open));
                set("synod_queued_commands", count(group.queued));
                set("synod_mending_slots", count(group.mending));
                counter!("synod_mended_slots_total", &labels).absolute(group.mended);
            }
        }
        collect_certificates(&self.status.certificates);
        for node in status.nodes.iter().filter(|node| node.state != NodeState::Own) {
            gauge!("synod_peer_up", "peer" => node.name.clone()).set(if node.state == NodeState::Up {
                1.0
            } else {
                0.0
            });
        }
        for peer in self.status.mesh.peers() {
            let labels = [("peer", peer.name)];
            gauge!("synod_peer_rtt_seconds", &labels).set(peer.rtt.map_or(f64::NAN, |rtt| rtt.as_secs_f64()));
            gauge!("synod_peer_queue_bytes", &labels).set(float(count(peer.queued_bytes)));
            counter!("synod_peer_reconnects_total", &labels).absolute(peer.reconnects);
            counter!("synod_peer_sent_bytes_total", &labels).absolute(peer.sent_bytes);
            counter!("synod_peer_received_bytes_total", &labels).absolute(peer.received_bytes);
            counter!("synod_peer_dropped_total", &labels).absolute(peer.dropped);
        }
        self.collect_mesh();
        gauge!("synod_journal_bytes").set(float(self.journal.bytes_on_disk()));
        gauge!("synod_journal_waiting_bytes").set(float(count(self.journal.waiting_bytes())));
        collect_backend(&(self.backend)());
        if let Some(dns) = &self.dns {
            collect_name_server(&dns());
        }
    }
}

impl Sources {
    fn collect_mesh(&self) {
        let counters = self.status.mesh.counters();
        let MeshCounters { strangers, applicants, refused_hellos, violations, ignored, unsendable } =
            counters;
        counter!("synod_mesh_strangers_total").absolute(strangers);
        counter!("synod_mesh_applicants_total").absolute(applicants);
        counter!("synod_mesh_refused_hellos_total").absolute(refused_hellos);
        counter!("synod_mesh_violations_total").absolute(violations);
        counter!("synod_mesh_ignored_total").absolute(ignored);
        counter!("synod_mesh_unsendable_total").absolute(unsendable);
        for (why, times) in self.status.mesh.session_ends() {
            counter!("synod_mesh_session_ends_total", "why" => why).absolute(times);
        }
    }
}

/// What a name server has done.
pub(crate) fn collect_name_server(counts: &Counts) {
    let Counts { udp, tcp, tls, https, quic } = counts;
    for (carrier, traffic) in [("udp", udp), ("tcp", tcp), ("dot", tls), ("doh", https), ("doq", quic)] {
        collect_dns(carrier, traffic);
    }
}

/// Until when certificates are valid, and how often they were not in order when they were read.
pub(crate) fn collect_certificates(certificates: &Certificates) {
    let mut ends: BTreeMap<CertificateUse, TimeMs> = BTreeMap::new();
    for CertificateStatus { certificate, not_after_ms, .. } in certificates.status() {
        let end = ends.entry(certificate).or_insert(not_after_ms);
        *end = (*end).min(not_after_ms);
    }
    for (certificate, end) in ends {
        let labels = [("certificate", certificate.name())];
        gauge!("synod_certificate_expiry_seconds", &labels).set(float(end.0 / 1000));
    }
    for (certificate, failures) in certificates.failures() {
        let labels = [("certificate", certificate.name())];
        counter!("synod_certificate_reload_failures_total", &labels).absolute(failures);
    }
}

fn collect_backend(values: &CounterValues) {
    counter!("synod_backend_commands_total").absolute(values.commands);
    for (code, times) in &values.refused {
        counter!("synod_backend_refused_total", "code" => code.name()).absolute(*times);
    }
    gauge!("synod_backend_sessions").set(float(values.sessions_open));
    counter!("synod_backend_sessions_broken_total").absolute(values.sessions_broken);
    counter!("synod_backend_http_requests_total").absolute(values.http_requests);
    gauge!("synod_backend_held_bytes").set(float(count(values.bytes_held)));
}

fn collect_dns(carrier: &'static str, traffic: &Traffic) {
    if traffic.queries == 0 {
        return;
    }
    counter!("synod_dns_queries_total", "carrier" => carrier).absolute(traffic.queries);
    counter!("synod_dns_dropped_total", "carrier" => carrier).absolute(traffic.dropped);
    counter!("synod_dns_malformed_total", "carrier" => carrier).absolute(traffic.malformed);
    counter!("synod_dns_limited_total", "carrier" => carrier).absolute(traffic.limited);
    for (rcode, times) in traffic.replies.iter().enumerate().filter(|(_, times)| **times > 0) {
        counter!("synod_dns_replies_total", "carrier" => carrier, "rcode" => rcode.to_string())
            .absolute(*times);
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).expect("usize has at most 64 bits")
}

/// Prometheus knows no other numbers; above 2^53 the last digits are lost.
#[expect(clippy::as_conversions, reason = "there is no other conversion, and the loss is known")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}
