//! Commands of every commander for every cluster, application and operation, submitted at two clusters: what is executed is
//! what lies on the diagonal, and nothing else leaves a trace.

mod founding;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use founding::Founded;
use synod_app_kv::KvOp;
use synod_app_zones::{Expected, ZoneName, ZonesOp};
use synod_auth::{Algorithm, SigningKey};
use synod_client::{Client, CommandOptions, Commander, SubmitError};
use synod_machine::{AuthorityOp, Grant, Role};
use synod_node::Node;
use synod_types::{
    AppNdx, ContentKey, ContentTicket, Outcome, Receipt, Seq, SignedCommand, StateNdx, TimeMs,
};

const KV: AppNdx = AppNdx(1);
const ZONES: AppNdx = AppNdx(2);
/// Nobody founded this one.
const NOWHERE: AppNdx = AppNdx(3);

/// Who they are to the first cluster; to the second one all are strangers but its own administrator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Administrator,
    OthersAdministrator,
    KvWriter,
    /// Within `mine/`.
    KvScoped,
    ZonesWriter,
    /// Within a.example.
    ZonesScoped,
    /// The rest are, or were, writers of both applications.
    Revoked,
    Expired,
    NotYetValid,
    Stranger,
}

const EVERYBODY: [Who; 10] = [
    Who::Administrator,
    Who::OthersAdministrator,
    Who::KvWriter,
    Who::KvScoped,
    Who::ZonesWriter,
    Who::ZonesScoped,
    Who::Revoked,
    Who::Expired,
    Who::NotYetValid,
    Who::Stranger,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    PutMine,
    PutOthers,
    Compact,
    EndA,
    EndB,
    Grant,
    Ticket,
}

const EVERYTHING: [What; 7] =
    [What::PutMine, What::PutOthers, What::Compact, What::EndA, What::EndB, What::Grant, What::Ticket];

/// The promise: whether the first cluster executes it.
fn is_permitted(who: Who, app: AppNdx, what: What) -> bool {
    let role_permits = match who {
        Who::Administrator => true,
        Who::KvWriter => app == KV && !matches!(what, What::Compact | What::Grant),
        Who::KvScoped => app == KV && what == What::PutMine,
        Who::ZonesWriter => app == ZONES && what != What::Grant,
        Who::ZonesScoped => app == ZONES && what == What::EndA,
        Who::OthersAdministrator | Who::Revoked | Who::Expired | Who::NotYetValid | Who::Stranger => false,
    };
    let has_meaning = match what {
        What::PutMine | What::PutOthers | What::Compact => app == KV,
        What::EndA | What::EndB => app == ZONES,
        What::Grant => app == KV || app == ZONES,
        // It lets files in, and is never executed.
        What::Ticket => false,
    };
    role_permits && has_meaning
}

fn operation(what: What, granted: &SigningKey) -> Bytes {
    let put = |key: &str| KvOp::Put { key: key.to_owned().into(), value: "v".into() }.encode();
    let end = |zone: &str| {
        ZonesOp::Delete { zone: ZoneName::parse(zone).expect("a name"), expected: Expected::Any }.encode()
    };
    let bytes = match what {
        What::PutMine => put("mine/k"),
        What::PutOthers => put("others/k"),
        What::Compact => KvOp::Compact { through: StateNdx(0) }.encode(),
        What::EndA => end("deep.a.example"),
        What::EndB => end("b.example"),
        What::Grant => grant(granted, &[], None, None),
        What::Ticket => ContentTicket { content: ContentKey::of(b"a file"), bytes: 6 }.encode(),
    };
    bytes.into()
}

fn grant(key: &SigningKey, scopes: &[&str], valid_from: Option<TimeMs>, valid_to: Option<TimeMs>) -> Vec<u8> {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    let unlimited = Grant::unlimited(key.public().spki_der().clone(), "somebody", Role::Writer);
    AuthorityOp::Grant(Grant { scopes, valid_from, valid_to, ..unlimited }).encode()
}

/// A cluster of one node, and its administrator's client.
struct House {
    founded: Founded,
    node: Node,
    client: Client,
}

impl House {
    async fn new() -> House {
        let founded = Founded::new(1);
        let node = founded.start(0).await;
        let client = founded.client(founded.endpoints());
        House { founded, node, client }
    }

    async fn execute(&self, app: AppNdx, operation: Vec<u8>) {
        let receipt = self.client.execute(app, operation.into(), CommandOptions::default()).await;
        assert!(matches!(receipt.expect("executed").outcome, Outcome::Done(_)));
    }

    fn states(&self) -> Vec<u64> {
        self.node.gateway().apps().iter().map(|app| app.state_ndx().0).collect()
    }

    async fn submit(&self, command: &SignedCommand) -> Option<Receipt> {
        match self.client.submit(command).await {
            Ok(receipt) => {
                assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
                Some(receipt)
            }
            Err(SubmitError::Refused(_)) => None,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_off_the_diagonal_is_executed() {
    let [here, there] = [House::new().await, House::new().await];
    let keys: Vec<(Who, Arc<SigningKey>)> = EVERYBODY
        .into_iter()
        .map(|who| {
            let key = match who {
                Who::Administrator => here.founded.administrator(),
                Who::OthersAdministrator => there.founded.administrator(),
                _ => SigningKey::generate(Algorithm::Ed25519),
            };
            (who, Arc::new(key))
        })
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let day = Duration::from_secs(24 * 3600);
    let ms = |time: Duration| Some(TimeMs(time.as_millis().try_into().expect("of this age")));
    for (who, key) in &keys {
        for app in [KV, ZONES] {
            let operation = match (who, app) {
                (Who::KvWriter, KV) | (Who::ZonesWriter, ZONES) | (Who::Revoked, _) => {
                    grant(key, &[], None, None)
                }
                (Who::KvScoped, KV) => grant(key, &["mine/"], None, None),
                (Who::ZonesScoped, ZONES) => grant(key, &["a.example"], None, None),
                (Who::Expired, _) => grant(key, &[], None, ms(now - day)),
                (Who::NotYetValid, _) => grant(key, &[], ms(now + day), None),
                _ => continue,
            };
            here.execute(app, operation).await;
            if *who == Who::Revoked {
                let commander = synod_types::CommanderId(key.id());
                here.execute(app, AuthorityOp::Revoke { commander }.encode()).await;
            }
        }
    }

    let (founded_here, founded_there) = (here.states(), there.states());
    let granted = SigningKey::generate(Algorithm::Ed25519);
    let mut executed_here = [0, 0];
    let mut executed_there = [0, 0];
    let mut count = 0;
    for signed_for in [&here, &there] {
        for (who, key) in &keys {
            let commander = Commander::new(Arc::clone(key), signed_for.founded.cluster);
            for app in [KV, ZONES, NOWHERE] {
                for what in EVERYTHING {
                    count += 1;
                    // Far from what was used above, and another one for each.
                    let seq = Seq(1_000 + count);
                    let command =
                        commander.sign(app, seq, operation(what, &granted), CommandOptions::default());
                    let command = command.expect("it is small");
                    let at_home = signed_for.founded.cluster == here.founded.cluster;
                    let expected = at_home && is_permitted(*who, app, what);
                    let label = format!("{who:?}, {app}, {what:?}, signed for {}", commander.cluster());
                    let executed = here.submit(&command).await.is_some();
                    assert_eq!(executed, expected, "here: {label}");
                    // There, its own administrator is as the administrator is here.
                    let twin = match who {
                        Who::OthersAdministrator => Who::Administrator,
                        _ => Who::Stranger,
                    };
                    let expected = !at_home && is_permitted(twin, app, what);
                    let executed_elsewhere = there.submit(&command).await.is_some();
                    assert_eq!(executed_elsewhere, expected, "there: {label}");
                    let place = usize::from(app == ZONES);
                    executed_here[place] += u64::from(executed);
                    executed_there[place] += u64::from(executed_elsewhere);
                }
            }
        }
    }
    let added = |before: &[u64], added: [u64; 2]| vec![before[0] + added[0], before[1] + added[1]];
    assert_eq!(here.states(), added(&founded_here, executed_here), "what was refused left no trace");
    assert_eq!(there.states(), added(&founded_there, executed_there));
    let executed: u64 = executed_here.iter().chain(&executed_there).sum();
    eprintln!("{count} commands at two clusters: {executed} executed, {} refused", 2 * count - executed);
    for house in [here, there] {
        house.client.close().await;
        house.node.stop().await;
    }
}
