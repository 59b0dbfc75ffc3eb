//! Certificates of states, as those get them who believe no node.

use std::future::ready;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use synod_gateway::{BundleForm, CertificateRead, Certificates, Certified};
use synod_types::{
    AppNdx, CertificateBundle, Configuration, Digest, Epoch, NodeId, Slot, StateCertificate, StateNdx,
    Statement, StatementSignature,
};

use crate::house::{CLUSTER, ask_with};
use crate::zones_house::ZonesHouse;

/// What this node has of them, newest first, and a state of which it has one.
#[derive(Default)]
pub struct HouseCertificates(pub Mutex<Vec<Arc<StateCertificate>>>, pub Mutex<Option<Certified>>);

impl Certificates for HouseCertificates {
    fn newest(&self, app: AppNdx) -> Option<Arc<StateCertificate>> {
        self.all(app, None).into_iter().next()
    }

    fn list(
        &self,
        app: AppNdx,
        after: Option<StateNdx>,
        limit: usize,
    ) -> CertificateRead<'_, Vec<Arc<StateCertificate>>> {
        Box::pin(ready(self.all(app, after).into_iter().take(limit).collect()))
    }

    fn bundle(
        &self,
        app: AppNdx,
        state_ndx: Option<StateNdx>,
    ) -> CertificateRead<'_, Option<CertificateBundle>> {
        let mut all = self.all(app, None).into_iter();
        let found = all.find(|one| state_ndx.is_none_or(|at| one.statement.state_ndx == at));
        Box::pin(ready(found.map(|found| {
            let certificate = StateCertificate::clone(&found);
            CertificateBundle { cluster: CLUSTER, handovers: Vec::new(), certificate }
        })))
    }

    fn certified(&self, app: AppNdx) -> Option<Certified> {
        let newest = self.1.lock().unwrap().clone();
        newest.filter(|certified| certified.certificate.statement.app == app)
    }
}

impl HouseCertificates {
    fn all(&self, app: AppNdx, after: Option<StateNdx>) -> Vec<Arc<StateCertificate>> {
        let is_it = |one: &&Arc<StateCertificate>| {
            let Statement { app: of, state_ndx, .. } = one.statement;
            of == app && after.is_none_or(|after| state_ndx < after)
        };
        self.0.lock().unwrap().iter().filter(is_it).cloned().collect()
    }
}

fn certificate(state_ndx: u64) -> Arc<StateCertificate> {
    let word =
        StatementSignature { key: Bytes::from_static(b"a key"), signature: Bytes::from_static(b"signed") };
    let members = Configuration { epoch: Epoch(3), members: vec![word.signer(), NodeId(Digest([8; 32]))] };
    let statement = Statement {
        app: AppNdx(4),
        epoch: Epoch(3),
        members: members.digest(),
        slot: Slot(state_ndx + 2),
        state_ndx: StateNdx(state_ndx),
        chain: Digest([3; 32]),
        root: Digest([4; 32]),
    };
    Arc::new(StateCertificate { statement, members: members.members, signatures: vec![word] })
}

#[tokio::test]
async fn certificates_are_listed_newest_first() {
    let house = ZonesHouse::open().await;
    let target = "/v1/apps/names/certificates";
    let none = house.get(target).await.json();
    assert_eq!((&none["certificates"], &none["next"]), (&serde_json::json!([]), &().into()));
    *house.certificates.0.lock().unwrap() = [9, 7, 5, 3].map(certificate).into();
    let states = |page: &serde_json::Value| -> Vec<u64> {
        let list = page["certificates"].as_array().unwrap();
        list.iter().map(|one| one["stateNdx"].as_u64().unwrap()).collect()
    };
    let page = house.get(&format!("{target}?limit=3")).await.json();
    assert_eq!((states(&page), &page["appNdx"]), (vec![9, 7, 5], &4.into()));
    let first = &page["certificates"][0];
    assert_eq!((&first["epoch"], &first["slot"]), (&3.into(), &11.into()));
    assert_eq!(first["root"], Digest([4; 32]).to_string());
    assert_eq!(first["signers"], serde_json::json!([Digest::of(&[b"a key"]).to_string()]));
    let next = page["next"].as_str().unwrap();
    assert_eq!(next, "/v1/apps/names/certificates?after=5&limit=3");
    let page = house.get(next).await.json();
    assert_eq!((states(&page), &page["next"]), (vec![3], &().into()));
    assert_eq!(states(&house.get("/v1/apps/other/certificates").await.json()), [0; 0]);
    let wrong = "/v1/apps/names/certificates?limit=0&before=3";
    house.get(wrong).await.assert_problem(400, "invalid-parameters", target);
}

#[tokio::test]
async fn a_certificate_is_given_with_its_proof() {
    let house = ZonesHouse::open().await;
    let target = "/v1/apps/names/certificates/latest";
    house.get(target).await.assert_problem(404, "no-such-certificate", target);
    *house.certificates.0.lock().unwrap() = [9, 7].map(certificate).into();
    let answer = house.get(target).await;
    assert_eq!((answer.header("content-type"), answer.header("vary")), ("application/json", "accept"));
    let form: BundleForm = serde_json::from_slice(&answer.body).unwrap();
    let bundle = form.read().unwrap();
    assert_eq!((bundle.cluster, &bundle.certificate), (CLUSTER, &*certificate(9)));
    let bytes = house.get_as(target, "application/octet-stream").await;
    assert_eq!(CertificateBundle::decode(&bytes.body), Ok(bundle));
    let seven: BundleForm =
        serde_json::from_slice(&house.get("/v1/apps/names/certificates/7").await.body).unwrap();
    assert_eq!(seven.read().unwrap().certificate, *certificate(7));

    let known = ask_with(house.addr(), "GET", target, &[("If-None-Match", answer.header("etag"))]).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    let gone = "/v1/apps/names/certificates/8";
    house.get(gone).await.assert_problem(404, "no-such-certificate", gone);
    for wrong in ["/v1/apps/names/certificates/newest", "/v1/apps/names/certificates/-1"] {
        house.get(wrong).await.assert_problem(400, "invalid-path", wrong);
    }
    house.get_as(target, "text/html").await.assert_problem(406, "not-acceptable", target);
}
