//! The log, as those see it who execute it again.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use synod_gateway::{Log, LogRead, LogUnread};
use synod_types::{AppNdx, Decree, LogPage, Slot};

use crate::house::{CLUSTER, House, ask_accepting};

/// What was chosen in the house; gives two decrees at a time, as if no more had room.
#[derive(Default)]
pub struct HouseLog {
    pub decrees: Mutex<Vec<(Slot, Decree)>>,
    pub refusal: Mutex<Option<LogUnread>>,
}

impl Log for HouseLog {
    fn read(&self, app: AppNdx, from: Slot, up_to: Slot) -> LogRead<'_> {
        assert_eq!(app, AppNdx(1));
        let refusal = *self.refusal.lock().unwrap();
        let decrees = self.decrees.lock().unwrap();
        let wanted = decrees.iter().filter(|(slot, _)| from <= *slot && *slot <= up_to);
        let read = refusal.map_or_else(|| Ok(wanted.take(2).cloned().collect()), Err);
        Box::pin(std::future::ready(read))
    }
}

async fn house() -> House {
    let mut house = House::open().await;
    house.put(b"a", b"1");
    house.noop();
    house.put(b"b", b"2");
    house
}

#[tokio::test]
async fn a_page_is_what_was_chosen_behind_a_slot() {
    let house = house().await;
    let chosen = house.log.decrees.lock().unwrap().clone();
    for (target, expected) in [
        ("/v1/apps/1/log", 0..2),
        ("/v1/apps/config/log?after=0&limit=1", 0..1),
        ("/v1/apps/1/log?after=1&limit=4096", 1..3),
        ("/v1/apps/1/log?after=2", 2..3),
        ("/v1/apps/1/log?after=3", 3..3),
        ("/v1/apps/1/log?after=18446744073709551615", 3..3),
    ] {
        let answer = house.get(target).await;
        assert_eq!((answer.status, answer.state_ndx()), (200, "2"), "{target}");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(answer.header("vary"), "accept");
        let page = LogPage::decode(&answer.body).unwrap();
        assert_eq!((page.cluster, page.app, page.applied), (CLUSTER, AppNdx(1), Slot(3)));
        assert_eq!(page.decrees, chosen[expected], "{target}");
    }
}

#[tokio::test]
async fn a_page_as_json_has_the_signed_bytes() {
    let house = house().await;
    let chosen = house.log.decrees.lock().unwrap().clone();
    let json = |target| ask_accepting(house.addr(), "GET", target, "application/json");
    let page = json("/v1/apps/1/log?limit=3").await.json();
    assert_eq!((&page["appNdx"], &page["stateNdx"], &page["applied"]), (&1.into(), &2.into(), &3.into()));
    assert_eq!(page["next"], "/v1/apps/1/log?after=2&limit=3");
    let [first, second] = &page["decrees"].as_array().unwrap()[..] else { panic!("{page}") };
    assert_eq!((&first["slot"], &first["timeMs"]), (&1.into(), &1_700_000_000_001_u64.into()));
    let command = &chosen[0].1.commands()[0];
    assert_eq!(first["commands"][0]["body"], BASE64.encode(&command.body[..]));
    assert_eq!(first["commands"][0]["key"], BASE64.encode(&command.key));
    assert_eq!((&second["slot"], second["timeMs"].is_null()), (&2.into(), true));
    assert_eq!(second["commands"].as_array().unwrap().len(), 0);
    let last = json("/v1/apps/1/log?after=2").await.json();
    assert_eq!((last["decrees"].as_array().unwrap().len(), last["next"].is_null()), (1, true));
}

#[tokio::test]
async fn what_cannot_be_given_is_said() {
    let house = house().await;
    let path = "/v1/apps/1/log";
    for (refusal, status, slug) in [(LogUnread::Busy, 503, "busy"), (LogUnread::NotHere, 503, "log-not-here")]
    {
        *house.log.refusal.lock().unwrap() = Some(refusal);
        let answer = house.get(path).await;
        answer.assert_problem(status, slug, path);
        assert_eq!((answer.state_ndx(), answer.header("retry-after")), ("2", "1"));
        // Where there is nothing to read, nothing can fail.
        assert_eq!(house.get("/v1/apps/1/log?after=3").await.status, 200);
    }
    *house.log.refusal.lock().unwrap() = Some(LogUnread::Cut(Slot(2)));
    let gone = house.get(path).await;
    gone.assert_problem(410, "log-cut", path);
    assert!(gone.json()["detail"].as_str().unwrap().contains("begins behind slot 2"));
    for wrong in ["limit=0", "limit=4097", "after=-1", "slot=1"] {
        house.get(&format!("{path}?{wrong}")).await.assert_problem(400, "invalid-parameters", path);
    }
    ask_accepting(house.addr(), "GET", path, "text/html").await.assert_problem(406, "not-acceptable", path);
    house.get("/v1/apps/1/log?min=3&wait=0").await.assert_problem(504, "timeout", path);
}

#[tokio::test]
async fn an_application_at_its_beginning_has_an_empty_log() {
    let house = house().await;
    let page = LogPage::decode(&house.get("/v1/apps/2/log").await.body).unwrap();
    assert_eq!((page.app, page.applied, page.decrees.len()), (AppNdx(2), Slot(0), 0));
}
