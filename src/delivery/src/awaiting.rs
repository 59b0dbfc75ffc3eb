//! Who holds a file, by whose word, and who waits until a majority does.
//!
//! A receipt counts for half of the time for which its node promised to keep the file; after that its node is asked
//! again. Of a file of which nothing is remembered, everybody is asked.

use std::collections::{BTreeMap, BTreeSet};

use synod_types::limits::{
    COMMAND_WAIT_MS_MAX, CONTENT_AWAITED_MAX, CONTENT_RECEIPTS_MAX, CONTENT_UNREFERRED_MS_MAX,
};
use synod_types::{ContentKey, ContentMessage, ContentReceipt, Digest, NodeId};

use crate::broken::Fault;
use crate::context::Context;
use crate::core::TICK_MS;
use crate::event::{Effect, NotUniform};
use crate::recent::Recent;

/// Ticks for which a receipt counts.
const RECEIPT_TICKS: u64 = CONTENT_UNREFERRED_MS_MAX / 2 / TICK_MS;
/// Ticks for which a majority is awaited.
const AWAIT_TICKS: u64 = COMMAND_WAIT_MS_MAX / TICK_MS;
/// Ticks between two questions about an awaited file, at most; the first ones come faster.
const ASK_TICKS_MAX: u64 = 50;

/// Receipts, and who waits for them.
#[derive(Debug)]
pub(crate) struct Awaiting {
    /// The nodes of which a majority is to hold a file.
    holders: BTreeSet<NodeId>,
    receipts: Recent<(ContentKey, NodeId), ContentReceipt>,
    awaited: BTreeMap<ContentKey, Awaited>,
}

#[derive(Debug)]
struct Awaited {
    until: u64,
    pause: u64,
    due: u64,
}

impl Awaiting {
    pub(crate) fn new(holders: BTreeSet<NodeId>) -> Awaiting {
        let receipts = Recent::new(CONTENT_RECEIPTS_MAX, RECEIPT_TICKS);
        Awaiting { holders, receipts, awaited: BTreeMap::new() }
    }

    /// From now on, a majority of these is to hold a file.
    pub(crate) fn set_holders(&mut self, holders: BTreeSet<NodeId>) {
        self.holders = holders;
    }

    pub(crate) fn awaits(&self, key: &ContentKey) -> bool {
        self.awaited.contains_key(key)
    }

    /// The receipts for a file that count.
    pub(crate) fn receipts(&self, key: ContentKey, now: u64) -> impl Iterator<Item = &ContentReceipt> {
        let first = NodeId(Digest([0; 32]));
        let last = NodeId(Digest([255; 32]));
        self.receipts.range(now, (key, first)..=(key, last)).map(|(_, receipt)| receipt)
    }

    /// Somebody waits.
    pub(crate) fn on_await(&mut self, key: ContentKey, here: bool, cx: &mut Context<'_>) {
        if self.awaits(&key) {
            return;
        }
        self.awaited.insert(key, Awaited { until: cx.now + AWAIT_TICKS, pause: 1, due: cx.now });
        self.check(key, here, cx);
        if self.awaited.len() > CONTENT_AWAITED_MAX {
            self.awaited.remove(&key);
            cx.effects.push(Effect::NotUniform { key, why: NotUniform::Busy });
        }
        if self.awaits(&key) {
            self.ask(key, here, cx);
        }
    }

    /// A node's word, which is verified.
    pub(crate) fn on_receipt(&mut self, receipt: ContentReceipt, here: bool, cx: &mut Context<'_>) {
        let key = receipt.content;
        self.receipts.insert(cx.now, (key, receipt.node), receipt);
        self.check(key, here, cx);
        if cx.broken.is(Fault::ReceiptOfOtherFile) {
            for other in self.awaited.keys().copied().collect::<Vec<_>>() {
                let receipts: Vec<_> = self.receipts(key, cx.now).cloned().collect();
                receipts
                    .into_iter()
                    .for_each(|receipt| self.receipts.insert(cx.now, (other, receipt.node), receipt));
                self.check(other, here, cx);
            }
        }
    }

    /// A node says that it does not hold a file, whatever it said before.
    pub(crate) fn on_not_held(&mut self, node: NodeId, key: ContentKey) {
        self.receipts.remove(&(key, node));
    }

    /// Answers who waits, if a majority holds the file. Nobody computes a majority of holders anywhere else.
    pub(crate) fn check(&mut self, key: ContentKey, here: bool, cx: &mut Context<'_>) {
        if !self.awaits(&key) {
            return;
        }
        let counts = |receipt: &&ContentReceipt| self.holders.contains(&receipt.node);
        let receipts: Vec<ContentReceipt> = self.receipts(key, cx.now).filter(counts).cloned().collect();
        let majority = self.holders.len() / 2 + usize::from(!cx.broken.is(Fault::QuorumOffByOne));
        if receipts.len() + usize::from(here) >= majority {
            self.awaited.remove(&key);
            cx.effects.push(Effect::Uniform { key, receipts, here });
        }
    }

    /// Asks again, and gives up what took too long.
    pub(crate) fn on_tick(&mut self, here: impl Fn(&ContentKey) -> bool, cx: &mut Context<'_>) {
        let now = cx.now;
        let due: Vec<_> =
            self.awaited.iter().filter(|(_, awaited)| awaited.due <= now).map(|(&key, _)| key).collect();
        for key in due {
            if self.awaited[&key].until > now {
                self.ask(key, here(&key), cx);
                continue;
            }
            self.awaited.remove(&key);
            let holders = self.receipts(key, now).map(|receipt| receipt.node).collect();
            cx.effects.push(Effect::NotUniform { key, why: NotUniform::Timeout(holders) });
        }
    }

    fn ask(&mut self, key: ContentKey, here: bool, cx: &mut Context<'_>) {
        for &node in cx.up {
            if !self.receipts.contains(cx.now, &(key, node)) {
                let message = ContentMessage::Seek { content: key, held: here };
                cx.effects.push(Effect::Send { to: node, message });
            }
        }
        if let Some(awaited) = self.awaited.get_mut(&key) {
            awaited.pause = (2 * awaited.pause).min(ASK_TICKS_MAX);
            awaited.due = (cx.now + awaited.pause).min(awaited.until);
        }
    }
}
