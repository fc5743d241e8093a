//! All matches of a pattern in linear time, with two passes over the text.
//!
//! The backward pass records for every position the states of the automaton
//! that can still reach a match from there. The forward pass follows the most
//! preferred of these states, so it never backtracks (Frisch and Cardelli,
//! "Greedy Regular Expression Matching", ICALP 2004). The matches are the
//! successive matches of `regex`. The states of all positions are not kept at
//! once: they are stored once per block and recomputed block by block, so that
//! memory stays small compared with the text.

use std::ops::Range;

use regex_automata::nfa::thompson::{self, NFA, State, WhichCaptures};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::StateID;

/// Positions in a block.
const BLOCK: usize = 1024;

/// The automaton of a pattern, with its reverse transitions.
#[derive(Debug)]
pub(super) struct TwoPass {
    nfa: NFA,
    /// For each state, its incoming byte transitions.
    byte_transitions: Vec<Vec<ByteTransition>>,
    /// For each state, the source states of its incoming epsilon transitions,
    /// with the look-around assertion that must hold at the position.
    epsilon_transitions: Vec<Vec<(StateID, Option<Look>)>>,
    matches: Vec<StateID>,
}

#[derive(Debug)]
struct ByteTransition {
    from: StateID,
    first: u8,
    last: u8,
}

impl TwoPass {
    /// The automaton of a pattern that the `regex` crate has accepted.
    pub fn new(pattern: &str) -> Self {
        let config = thompson::Config::new().which_captures(WhichCaptures::None);
        let nfa = NFA::compiler()
            .configure(config)
            .build(pattern)
            .expect("`Regex` compiled the pattern with the same parser and more states");
        let states = nfa.states().len();
        let mut two_pass = Self {
            byte_transitions: (0..states).map(|_| Vec::new()).collect(),
            epsilon_transitions: vec![Vec::new(); states],
            matches: Vec::new(),
            nfa: nfa.clone(),
        };
        for (from, state) in nfa.states().iter().enumerate() {
            two_pass.add_state(StateID::must(from), state);
        }
        two_pass
    }

    /// Records the outgoing transitions of a state.
    fn add_state(&mut self, from: StateID, state: &State) {
        match state {
            State::ByteRange { trans } => self.add_bytes(from, trans.start, trans.end, trans.next),
            State::Sparse(sparse) => {
                for trans in sparse.transitions.iter() {
                    self.add_bytes(from, trans.start, trans.end, trans.next);
                }
            }
            State::Dense(dense) => {
                for (byte, &to) in (0..=u8::MAX).zip(dense.transitions.iter()) {
                    self.add_bytes(from, byte, byte, to);
                }
            }
            &State::Look { look, next } => self.add_epsilon(from, next, Some(look)),
            State::Union { alternates } => {
                for &to in alternates.iter() {
                    self.add_epsilon(from, to, None);
                }
            }
            &State::BinaryUnion { alt1, alt2 } => {
                self.add_epsilon(from, alt1, None);
                self.add_epsilon(from, alt2, None);
            }
            &State::Capture { next, .. } => self.add_epsilon(from, next, None),
            State::Fail => {}
            State::Match { .. } => self.matches.push(from),
        }
    }

    fn add_bytes(&mut self, from: StateID, first: u8, last: u8, to: StateID) {
        self.byte_transitions[to].push(ByteTransition { from, first, last });
    }

    fn add_epsilon(&mut self, from: StateID, to: StateID, look: Option<Look>) {
        self.epsilon_transitions[to].push((from, look));
    }

    /// The last of all matches.
    pub fn last_match(&self, text: &str) -> Option<Range<usize>> {
        let mut viable = Viability::new(self, text);
        let (mut at, mut last, mut last_end) = (0, None, None);
        while let Some(start) = self.next_start(&mut viable, at) {
            let end = self.end_of_match(&mut viable, start);
            if start == end && last_end == Some(end) {
                // An empty match directly after another match does not count.
                at = start + 1;
                continue;
            }
            last = Some(start..end);
            last_end = Some(end);
            at = end;
        }
        last
    }

    /// The first position, from `at` on, at which a match starts.
    fn next_start(&self, viable: &mut Viability, at: usize) -> Option<usize> {
        let start = self.nfa.start_anchored();
        (at..=viable.text.len())
            .find(|&at| viable.text.is_char_boundary(at) && viable.at(at).contains(start))
    }

    /// The end of the match that starts at `at`.
    fn end_of_match(&self, viable: &mut Viability, mut at: usize) -> usize {
        let mut state = self.nfa.start_anchored();
        let mut seen = States::none(self.nfa.states().len());
        while let Some(next) = self.preferred(viable, state, at, &mut seen) {
            state = next;
            at += 1;
        }
        at
    }

    /// The state after the byte at `at`, on the most preferred path from
    /// `state` to a match; None if the match ends here.
    fn preferred(
        &self,
        viable: &mut Viability,
        state: StateID,
        at: usize,
        seen: &mut States,
    ) -> Option<StateID> {
        let text = viable.text.as_bytes();
        seen.clear();
        let mut ahead = vec![state];
        while let Some(id) = ahead.pop() {
            if !seen.insert(id) {
                continue;
            }
            let over_byte = match self.nfa.state(id) {
                State::ByteRange { trans } => trans.matches(text, at).then_some(trans.next),
                State::Sparse(sparse) => sparse.matches(text, at),
                State::Dense(dense) => dense.matches(text, at),
                State::Match { .. } => return None,
                empty => {
                    self.push_epsilon_targets(empty, text, at, &mut ahead);
                    None
                }
            };
            if let Some(next) = over_byte.filter(|&next| viable.at(at + 1).contains(next)) {
                return Some(next);
            }
        }
        None
    }

    /// Pushes the targets of the epsilon transitions of `state`, the preferred
    /// one last.
    fn push_epsilon_targets(
        &self,
        state: &State,
        text: &[u8],
        at: usize,
        ahead: &mut Vec<StateID>,
    ) {
        match state {
            &State::Look { look, next } if self.look_matches(look, text, at) => ahead.push(next),
            State::Union { alternates } => ahead.extend(alternates.iter().rev()),
            &State::BinaryUnion { alt1, alt2 } => ahead.extend([alt2, alt1]),
            &State::Capture { next, .. } => ahead.push(next),
            _ => {}
        }
    }

    fn look_matches(&self, look: Look, text: &[u8], at: usize) -> bool {
        self.nfa.look_matcher().matches(look, text, at)
    }

    /// Sets `states` to those that can reach a match from `at`; `next` are
    /// those of the next position.
    fn step_back(&self, text: &[u8], at: usize, after: &States, states: &mut States) {
        states.clear();
        for &id in &self.matches {
            states.insert(id);
        }
        if let Some(&byte) = text.get(at) {
            for &to in &after.members {
                for step in &self.byte_transitions[to] {
                    if (step.first..=step.last).contains(&byte) {
                        states.insert(step.from);
                    }
                }
            }
        }
        let mut next = 0;
        while let Some(&to) = states.members.get(next) {
            for &(from, look) in &self.epsilon_transitions[to] {
                if look.is_none_or(|look| self.look_matches(look, text, at)) {
                    states.insert(from);
                }
            }
            next += 1;
        }
    }
}

/// A set of states.
#[derive(Clone)]
struct States {
    words: Vec<u64>,
    members: Vec<StateID>,
}

impl States {
    fn none(states: usize) -> Self {
        Self {
            words: vec![0; states.div_ceil(64)],
            members: Vec::new(),
        }
    }

    fn contains(&self, id: StateID) -> bool {
        self.words[id.as_usize() / 64] >> (id.as_usize() % 64) & 1 == 1
    }

    /// Adds a state; returns whether it is new.
    fn insert(&mut self, id: StateID) -> bool {
        let new = !self.contains(id);
        if new {
            self.words[id.as_usize() / 64] |= 1 << (id.as_usize() % 64);
            self.members.push(id);
        }
        new
    }

    fn clear(&mut self) {
        for id in self.members.drain(..) {
            self.words[id.as_usize() / 64] = 0;
        }
    }
}

/// The states that can reach a match, by position.
struct Viability<'a> {
    automaton: &'a TwoPass,
    text: &'a str,
    /// The states at the end of each block.
    ends: Vec<States>,
    /// The block whose positions are in `states`, including both of its ends.
    block: usize,
    states: Vec<States>,
}

impl<'a> Viability<'a> {
    fn new(automaton: &'a TwoPass, text: &'a str) -> Self {
        let none = States::none(automaton.nfa.states().len());
        let mut viability = Self {
            automaton,
            text,
            ends: vec![none.clone(); text.len() / BLOCK + 1],
            block: 0,
            states: vec![none.clone(); BLOCK + 1],
        };
        let last = viability.ends.len() - 1;
        automaton.step_back(
            text.as_bytes(),
            text.len(),
            &none,
            &mut viability.ends[last],
        );
        viability.fill(last);
        for block in (0..last).rev() {
            viability.ends[block] = viability.states[0].clone();
            viability.fill(block);
        }
        viability
    }

    /// The states at a position. Queries in ascending order take one pass in
    /// total.
    fn at(&mut self, at: usize) -> &States {
        let start = self.block * BLOCK;
        if !(start..=start + BLOCK).contains(&at) {
            self.fill(at / BLOCK);
        }
        &self.states[at - self.block * BLOCK]
    }

    /// Computes the states of a block from those at its end.
    fn fill(&mut self, block: usize) {
        let (start, text) = (block * BLOCK, self.text.as_bytes());
        let len = (text.len() - start).min(BLOCK);
        self.states[len].clone_from(&self.ends[block]);
        for at in (0..len).rev() {
            let (before, after) = self.states.split_at_mut(at + 1);
            self.automaton
                .step_back(text, start + at, &after[0], &mut before[at]);
        }
        self.block = block;
    }
}
