use std::sync::mpsc as sync;

use synod_gateway::AppPublisher;
use synod_machine::Machine;
use synod_types::Slot;

use super::*;
use crate::shelf::{APP, Author, batch, verified};

/// An intake, with what the driver and the gate get from it.
struct Stage {
    author: Author,
    machine: Machine,
    publisher: AppPublisher,
    intake: Intake,
    gated: mpsc::UnboundedReceiver<Gated>,
}

impl Stage {
    fn set() -> Stage {
        let author = Author::new();
        let machine = author.machine();
        let (door, publisher, _) = AppDoor::open("shelf", machine.view());
        let (gate, gated) = mpsc::unbounded_channel();
        let intake = Intake::new(BTreeMap::from([(APP, door)]), gate, Arc::default());
        Stage { author, machine, publisher, intake, gated }
    }

    fn submit(&self, command: &SignedCommand) -> sync::Receiver<Answered> {
        let (sender, answer) = sync::channel();
        self.intake.submit(verified(command), Answer::from_fn(move |answered| drop(sender.send(answered))));
        answer
    }

    /// The commands for the driver.
    fn fresh(&self) -> Vec<CommandId> {
        self.intake.take_fresh().iter().map(|(_, command)| command.id()).collect()
    }

    fn execute(&mut self, slot: u64, command: &SignedCommand) {
        let applied = self.machine.apply(Slot(slot), &batch(command.clone())).unwrap();
        self.publisher.publish(self.machine.view());
        self.intake.on_applied(applied);
    }
}

#[test]
fn a_command_with_files_enters_when_it_has_passed_the_gate() {
    let mut stage = Stage::set();
    let (with, without) = (stage.author.put(1, b"a file"), stage.author.clear(2));
    let answers = [stage.submit(&with), stage.submit(&with)];
    stage.submit(&without);
    assert_eq!(stage.fresh(), [without.id()], "what has no files does not wait");
    let gated = stage.gated.try_recv().unwrap();
    assert_eq!((gated.id, &gated.contents[..]), (with.id(), &[ContentKey::of(b"a file")][..]));
    assert!(stage.gated.try_recv().is_err(), "once, however often it is submitted");
    assert!(stage.intake.entered_of(APP).iter().all(|pending| pending.id() != with.id()));

    stage.intake.pass(with.id());
    assert_eq!(stage.fresh(), [with.id()]);
    let third = stage.submit(&with);
    assert!(stage.fresh().is_empty() && stage.gated.try_recv().is_err(), "it is on its way");
    assert_eq!(stage.intake.entered_of(APP).len(), 2, "a new leader gets it without a gate");
    stage.execute(1, &with);
    for answer in answers.into_iter().chain([third]) {
        assert_eq!(answer.try_recv().unwrap().unwrap().seq, Seq(1));
    }
    // Its file may be long gone: it is answered from the receipt.
    assert_eq!(stage.submit(&with).try_recv().unwrap().unwrap().seq, Seq(1));
    assert!(stage.gated.try_recv().is_err());
}

#[test]
fn what_is_turned_away_is_answered_and_forgotten() {
    let mut stage = Stage::set();
    let command = stage.author.put(1, b"a file");
    let answer = stage.submit(&command);
    stage.intake.turn_away(command.id(), &Refusal::new(RefusalCode::ContentMissing, "nowhere"));
    assert_eq!(answer.try_recv().unwrap().unwrap_err().code, RefusalCode::ContentMissing);
    stage.intake.pass(command.id());
    assert!(stage.fresh().is_empty(), "too late");
    assert_eq!(stage.gated.try_recv().unwrap().id, command.id());

    // Submitted again, it waits again, until it comes back executed: it had entered at another node, too.
    let answer = stage.submit(&command);
    assert_eq!(stage.gated.try_recv().unwrap().id, command.id());
    stage.execute(1, &command);
    assert!(answer.try_recv().unwrap().is_ok());
    stage.intake.pass(command.id());
    assert!(stage.fresh().is_empty());
}

#[test]
fn the_gate_has_room_for_so_many_and_a_stop_answers_all() {
    let stage = Stage::set();
    let answers: Vec<_> =
        (1..).take(GATED_COMMANDS_MAX).map(|seq| stage.submit(&stage.author.put(seq, b"a file"))).collect();
    let answer = stage.submit(&stage.author.put(4000, b"a file"));
    assert_eq!(answer.try_recv().unwrap().unwrap_err().code, RefusalCode::Busy);
    stage.submit(&stage.author.clear(4001));
    assert_eq!(stage.fresh().len(), 1, "what needs no gate still enters");
    stage.intake.stop();
    for answer in answers {
        assert_eq!(answer.try_recv().unwrap().unwrap_err().code, RefusalCode::Stopping);
    }
}

#[test]
fn what_another_node_relays_is_kept_for_the_next_leader_and_relayed_no_further() {
    let mut stage = Stage::set();
    let (own, others, executed) = (stage.author.clear(1), stage.author.clear(2), stage.author.clear(3));
    stage.submit(&own);
    stage.execute(1, &executed);
    stage.intake.keep(APP, vec![own.clone(), others.clone(), executed.clone()]);
    assert_eq!(stage.fresh(), [own.id()], "nobody leads to whom the rest could be handed on");
    assert!(stage.intake.awaits(others.id()) && !stage.intake.awaits(executed.id()));
    assert_eq!(
        stage.intake.entered_of(APP),
        std::slice::from_ref(&own),
        "who took the other one hands it on"
    );
    let mut relayed = vec![own.clone(), others.clone()];
    stage.intake.retain_entered(&mut relayed);
    assert_eq!(relayed, [own]);

    // Whoever submits it here waits here.
    let answer = stage.submit(&others);
    assert_eq!(stage.intake.entered_of(APP).len(), 2);
    stage.execute(2, &others);
    assert!(answer.try_recv().unwrap().is_ok());
    assert_eq!(stage.intake.entered_of(APP).len(), 1);
}

#[test]
fn what_came_in_while_its_execution_was_on_the_way_out_is_answered_when_it_is_handed_on_again() {
    let mut stage = Stage::set();
    let command = stage.author.clear(1);
    let answer = stage.submit(&command);
    // Executed and published, and the intake was told before the command was in it.
    stage.machine.apply(Slot(1), &batch(command.clone())).unwrap();
    stage.publisher.publish(stage.machine.view());
    assert!(stage.intake.on_tick(|_| false).is_empty() && answer.try_recv().is_err(), "not so soon");
    stage.intake.make_late();
    assert!(stage.intake.on_tick(|_| false).is_empty(), "nobody has to order it again");
    assert_eq!(answer.try_recv().unwrap().unwrap().seq, Seq(1));
}
