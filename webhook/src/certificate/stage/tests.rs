//! The rotation step by step, with the time given.

use super::*;

const DELAY: Duration = Duration::from_secs(60);
const TIMING: Timing = Timing { rotate_before: Duration::from_secs(90 * 86_400), trust_delay: DELAY };

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds)
}

fn ca(id: &str, until: i64) -> Facts {
    Facts { id: id.to_owned(), not_before: at(until - 365 * 86_400), not_after: at(until) }
}

const YEAR: i64 = 365 * 86_400;

fn view(current: &str, next: Option<&str>, previous: Option<&str>) -> View {
    let make = |id: &str| ca(id, YEAR);
    View { current: make(current), next: next.map(make), previous: previous.map(make), serving: BTreeMap::new() }
}

fn served(ca: &str) -> Served {
    Served { ca: ca.to_owned(), renew_at: at(YEAR) }
}

fn record(ca: &str, beat: &str) -> Record {
    Record { ca: ca.to_owned(), beat: beat.to_owned() }
}

fn next(view: &View, ca: &str, memory: &Memory, now: i64) -> Vec<Action> {
    step("me", view, Some(&served(ca)), memory, &TIMING, at(now))
}

#[test]
fn nothing_is_done_until_a_ca_is_due_and_then_a_new_one_is_only_added() {
    let view = view("a", None, None);
    let due = YEAR - 90 * 86_400;
    assert_eq!(next(&view, "a", &Memory::default(), due - 1), []);
    assert_eq!(next(&view, "a", &Memory::default(), due), [Action::Change(Change::AddNext)]);
}

#[test]
fn an_ended_ca_is_replaced_at_once_and_a_ca_is_never_due_from_its_first_day() {
    assert_eq!(next(&view("a", None, None), "a", &Memory::default(), YEAR), [Action::Change(Change::Replace)]);
    let eager = Timing { rotate_before: Duration::from_secs(1000 * 86_400), ..TIMING };
    assert_eq!(eager.rotate_at(&ca("a", YEAR)), at(YEAR - YEAR * 2 / 3));
}

#[test]
fn what_is_served_comes_from_the_current_ca_and_is_renewed_in_time() {
    let view = view("a", None, None);
    let memory = Memory::default();
    assert_eq!(step("me", &view, None, &memory, &TIMING, at(0)), [Action::Serve]);
    assert_eq!(next(&view, "b", &memory, 0), [Action::Serve]);
    let old = Served { ca: "a".to_owned(), renew_at: at(10) };
    assert_eq!(step("me", &view, Some(&old), &memory, &TIMING, at(9)), []);
    assert_eq!(step("me", &view, Some(&old), &memory, &TIMING, at(10)), [Action::Serve]);
}

#[test]
fn a_new_ca_signs_only_after_every_bundle_had_it_for_the_whole_delay() {
    let mut view = view("a", Some("b"), None);
    let mut memory = Memory::default();
    view.serving.insert("me".to_owned(), record("a", "1"));
    memory.observe(&view, false, at(0));
    assert_eq!(next(&view, "a", &memory, 1), [], "the bundles lack it");
    memory.observe(&view, true, at(10));
    assert!(!next(&view, "a", &memory, 69).contains(&Action::Change(Change::Switch)));
    memory.observe(&view, false, at(69));
    memory.observe(&view, true, at(70));
    assert!(!next(&view, "a", &memory, 129).contains(&Action::Change(Change::Switch)), "one was emptied meanwhile");
    assert_eq!(next(&view, "a", &memory, 130), [Action::Change(Change::Switch)]);
}

#[test]
fn bundles_that_were_complete_for_one_ca_are_not_for_two() {
    let mut memory = Memory::default();
    memory.observe(&view("a", None, None), true, at(0));
    let both = view("a", Some("b"), None);
    memory.observe(&both, true, at(1000));
    assert!(!next(&both, "a", &memory, 1059).contains(&Action::Change(Change::Switch)));
}

#[test]
fn the_old_ca_stays_while_a_replica_serves_it_and_goes_when_none_does() {
    let mut view = view("b", None, Some("a"));
    let mut memory = Memory::default();
    view.serving = BTreeMap::from([("me".to_owned(), record("b", "1")), ("other".to_owned(), record("a", "1"))]);
    memory.observe(&view, true, at(0));
    assert!(!next(&view, "b", &memory, 100).contains(&Action::Change(Change::DropPrevious)), "the other serves it");
    view.serving.insert("other".to_owned(), record("b", "2"));
    memory.observe(&view, true, at(100));
    assert_eq!(next(&view, "b", &memory, 101), [Action::Change(Change::DropPrevious)]);
}

#[test]
fn replicas_have_the_delay_after_the_switch_to_say_what_they_serve() {
    let mut memory = Memory::default();
    memory.observe(&view("a", Some("b"), None), true, at(0));
    let switched = view("b", None, Some("a"));
    memory.observe(&switched, true, at(100));
    assert!(!next(&switched, "b", &memory, 159).contains(&Action::Change(Change::DropPrevious)));
    assert_eq!(next(&switched, "b", &memory, 160), [Action::Change(Change::DropPrevious)]);
}

#[test]
fn a_replica_without_a_heartbeat_for_minutes_is_gone_whatever_its_clock_says() {
    let mut view = view("b", None, Some("a"));
    let mut memory = Memory::default();
    view.serving.insert("gone".to_owned(), record("a", "2999-01-01T00:00:00Z"));
    memory.observe(&view, true, at(0));
    memory.observe(&view, true, at(179));
    assert!(!next(&view, "b", &memory, 179).contains(&Action::Change(Change::DropPrevious)));
    assert_eq!(next(&view, "b", &memory, 180), [Action::Change(Change::DropPrevious)]);
}

#[test]
fn heartbeats_are_written_while_a_rotation_runs_and_only_then() {
    let mut memory = Memory::default();
    assert_eq!(next(&view("a", None, None), "a", &memory, 0), []);
    let mut rotating = view("a", Some("b"), None);
    assert_eq!(next(&rotating, "a", &memory, 0), [Action::Change(Change::Record)]);
    rotating.serving.insert("me".to_owned(), record("a", "1"));
    memory.observe(&rotating, false, at(0));
    assert_eq!(next(&rotating, "a", &memory, 29), []);
    assert_eq!(next(&rotating, "a", &memory, 30), [Action::Change(Change::Record)]);
}

#[test]
fn a_new_process_in_the_middle_of_a_rotation_waits_again_and_goes_on() {
    let view = view("a", Some("b"), None);
    let mut memory = Memory::default();
    memory.observe(&view, true, at(500));
    assert!(!next(&view, "a", &memory, 559).contains(&Action::Change(Change::Switch)));
    assert_eq!(next(&view, "a", &memory, 560), [Action::Change(Change::Switch)]);
}

#[test]
fn an_ended_previous_ca_leaves_without_waiting() {
    let mut view = view("b", None, None);
    view.previous = Some(ca("a", 100));
    assert_eq!(next(&view, "b", &Memory::default(), 100), [Action::Change(Change::DropPrevious)]);
}
