use super::*;

mod plans;
mod properties;

const SETTINGS: BrakeSettings =
    BrakeSettings { share: 30, at_least: 20, release_after: Duration::from_secs(300) };

/// The prefix with this number.
fn prefix(number: usize) -> Prefix {
    format!("10.{}.{}.0/24", number / 256, number % 256).parse().unwrap()
}

fn prefixes(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<Prefix> {
    numbers.into_iter().map(prefix).collect()
}

/// A world in which whatever is withdrawn and not held goes at once.
struct World {
    brake: Brake,
    start: Instant,
    /// Seconds since the start.
    now: u64,
    in_place: BTreeSet<Prefix>,
    healthy: bool,
    /// The time of day.
    wall: SystemTime,
}

impl World {
    fn with(settings: BrakeSettings, routes: usize) -> Self {
        let brake = Brake::new(settings, None);
        let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        Self { brake, start, now: 0, in_place: prefixes(0..routes), healthy: true, wall }
    }

    fn new(routes: usize) -> Self {
        Self::with(SETTINGS, routes)
    }

    fn at(&self) -> Instant {
        self.start + Duration::from_secs(self.now)
    }

    /// A pass after so many seconds with these routes wanted; how many are held.
    fn pass(&mut self, after: u64, wanted: impl IntoIterator<Item = usize>) -> usize {
        self.now += after;
        let wanted = prefixes(wanted);
        let withdrawn = self.in_place.difference(&wanted).copied().collect();
        let proposal = Proposal {
            withdrawn,
            in_place: &|| self.in_place.len(),
            wanted: &|prefix| wanted.contains(prefix),
            healthy: self.healthy,
            time: self.wall,
        };
        let now = self.start + Duration::from_secs(self.now);
        let held = self.brake.decide(proposal, now);
        assert!(held.is_disjoint(&wanted), "what is wanted is not held");
        self.in_place.retain(|prefix| held.contains(prefix));
        self.in_place.extend(wanted);
        held.len()
    }

    /// The agent is killed, and started again after so many seconds.
    fn restart(&mut self, after: u64) {
        let saved = self.brake.hold().map(Hold::save);
        let written = saved.map(|saved| serde_json::to_string(&saved).unwrap());
        let read = written.map(|text| serde_json::from_str(&text).unwrap());
        self.brake = Brake::new(self.brake.settings, read);
        self.now += after;
    }

    fn released(&mut self) -> Vec<(usize, Release)> {
        let released = |note| match note {
            BrakeNote::Released { released, how, .. } => Some((released, how)),
            BrakeNote::Held { .. } => None,
        };
        self.brake.take_notes().into_iter().filter_map(released).collect()
    }
}

/// Invariant 2: never more than the brake allows in one pass.
#[test]
fn invariant_2_more_than_the_share_is_held_and_not_less() {
    for (routes, left, held) in [
        (60, 10, 50),
        (100, 70, 0),
        (100, 69, 31),
        (67, 47, 0),
        (66, 46, 20),
        (20, 0, 20),
        // Fewer than 20 are no mass.
        (19, 0, 0),
        (3, 1, 0),
        (1_000, 0, 1_000),
    ] {
        let mut world = World::new(routes);
        world.pass(0, 0..routes);
        assert_eq!(world.pass(10, 0..left), held, "{routes} to {left}");
        let expected = if held > 0 { routes } else { left };
        assert_eq!(world.in_place.len(), expected, "{routes} to {left}");
    }
}

/// Clocks that are set jump: how long something is held goes by a clock that does not, also over a restart.
#[test]
fn a_time_of_day_that_jumps_changes_nothing() {
    let year = Duration::from_secs(365 * 24 * 3_600);
    let held = |wall: &[SystemTime]| {
        let mut world = World::new(100);
        world.pass(0, 0..100);
        let mut held = Vec::new();
        for (step, wall) in wall.iter().enumerate() {
            world.wall = *wall;
            if step == 3 {
                world.restart(0);
            }
            held.push(world.pass(60, 0..10));
        }
        (held, world.released())
    };
    let now = SystemTime::UNIX_EPOCH + 50 * year;
    let steady = held(&[now; 8]);
    assert_eq!(steady.0, [90, 90, 90, 90, 90, 90, 0, 0], "held for five minutes from the first time on");
    for jumps in [
        [now, now + year, now + year, now + year, now + year, now + year, now + year, now + year],
        [now, now - year, now - year, now - year, now - year, now - year, now - year, now - year],
        [now, now + year, now - year, SystemTime::UNIX_EPOCH, now, now - year, now + year, now],
    ] {
        assert_eq!(held(&jumps), steady);
    }
}

#[test]
fn a_brake_that_is_off_holds_nothing() {
    let mut world = World::with(BrakeSettings { share: 100, ..SETTINGS }, 1_000);
    assert_eq!(world.pass(0, 0..0), 0);
    assert_eq!(world.in_place.len(), 0);
}

/// Invariant 2: withdrawals that come bit by bit count together.
#[test]
fn invariant_2_many_small_withdrawals_within_the_window_are_held() {
    let mut world = World::new(100);
    for left in [90, 80, 70] {
        assert_eq!(world.pass(10, 0..left), 0, "{left}");
    }
    assert_eq!(world.pass(10, 0..60), 10, "40 of 100 within 40 seconds");
    assert_eq!(world.in_place.len(), 70);
    assert_eq!(world.brake.take_notes(), [BrakeNote::Held { held: 10, in_place: 100, first: prefix(60) }]);
    // As slow as this is no mistake.
    let mut world = World::new(100);
    for left in [85, 70, 55, 45, 35, 28] {
        assert_eq!(world.pass(61, 0..left), 0, "{left}");
    }
}

#[test]
fn a_route_that_flaps_counts_once() {
    let mut world = World::new(60);
    for _ in 0..30 {
        assert_eq!(world.pass(1, 0..59), 0);
        assert_eq!(world.pass(1, 0..60), 0);
    }
}

#[test]
fn additions_go_on_while_routes_are_held() {
    let mut world = World::new(60);
    assert_eq!(world.pass(0, 0..10), 50);
    assert_eq!(world.pass(10, (0..10).chain(100..105)), 50);
    assert!(world.in_place.is_superset(&prefixes(100..105)));
}

#[test]
fn what_else_is_withdrawn_meanwhile_is_held_too() {
    let mut world = World::new(60);
    assert_eq!(world.pass(0, 0..10), 50);
    assert_eq!(world.pass(10, 0..9), 51);
}

#[test]
fn what_is_stated_again_leaves_the_hold() {
    let mut world = World::new(60);
    assert_eq!(world.pass(0, 0..10), 50);
    assert_eq!(world.pass(10, 0..30), 30);
    assert_eq!(world.released(), []);
    assert_eq!(world.pass(10, 0..60), 0);
    assert_eq!(world.released(), [(0, Release::CameBack)]);
    assert_eq!(world.in_place.len(), 60);
}

#[test]
fn a_hold_that_sinks_below_the_threshold_ends_and_the_rest_is_withdrawn() {
    let mut world = World::new(60);
    assert_eq!(world.pass(0, 0..10), 50);
    assert_eq!(world.pass(10, 0..45), 0);
    assert_eq!(world.released(), [(15, Release::Sank)]);
    assert_eq!(world.in_place.len(), 45);
}

/// What went shortly before the brake acted belongs to it: the hold does not sink at once because it is small itself.
#[test]
fn a_hold_that_came_of_several_withdrawals_does_not_sink_by_itself() {
    let mut world = World::new(60);
    world.pass(0, 0..45);
    assert_eq!(world.pass(10, 0..38), 7);
    assert_eq!(world.pass(100, 0..38), 7);
    assert_eq!(world.pass(100, 0..38), 7);
}

#[test]
fn a_withdrawal_repeated_for_long_enough_is_made() {
    let mut world = World::new(60);
    assert_eq!(world.pass(0, 0..10), 50);
    assert_eq!(world.pass(299, 0..10), 50);
    assert_eq!(world.brake.release_in(world.at()), Some(Duration::from_secs(1)));
    assert_eq!(world.pass(1, 0..10), 0);
    assert_eq!(world.in_place.len(), 10);
    assert_eq!(world.released(), [(50, Release::Repeated)]);
    // It is over, and what was released does not count against what follows.
    assert_eq!(world.pass(10, 0..8), 0);
}

#[test]
fn each_withdrawal_has_its_own_time() {
    let mut world = World::new(200);
    assert_eq!(world.pass(0, 0..100), 100);
    assert_eq!(world.pass(200, 0..20), 180);
    assert_eq!(world.pass(100, 0..20), 80, "the first hundred has been repeated for 300 seconds");
    assert_eq!(world.released(), [(100, Release::Repeated)]);
    assert_eq!(world.pass(199, 0..20), 80);
    assert_eq!(world.pass(1, 0..20), 0);
}

#[test]
fn a_route_that_came_back_for_a_moment_begins_anew() {
    let mut world = World::new(100);
    assert_eq!(world.pass(0, 0..20), 80);
    assert_eq!(world.pass(290, 0..60), 40);
    assert_eq!(world.pass(5, 0..20), 80);
    assert_eq!(world.pass(5, 0..20), 40, "those that never came back");
}

/// A source that fails repeats nothing.
#[test]
fn a_source_that_fails_begins_anew() {
    let mut world = World::new(60);
    assert_eq!(world.pass(0, 0..10), 50);
    world.healthy = false;
    assert_eq!(world.pass(200, 0..10), 50);
    assert_eq!(world.brake.release_in(world.at()), None);
    world.healthy = true;
    assert_eq!(world.pass(200, 0..10), 50);
    assert_eq!(world.pass(299, 0..10), 50);
    world.brake.interrupt();
    assert_eq!(world.pass(1, 0..10), 50, "it failed between two passes");
    assert_eq!(world.pass(300, 0..10), 0);
}

#[test]
fn a_confirmation_lets_go_what_is_held_and_nothing_else() {
    let mut world = World::new(200);
    assert_eq!(world.brake.confirm(), None);
    assert_eq!(world.pass(0, 0..120), 80);
    assert_eq!(world.brake.confirm().map(|released| released.len()), Some(80));
    assert_eq!(world.brake.confirm(), None);
    assert_eq!(world.pass(1, 0..60), 60, "that was not confirmed");
    assert_eq!(world.in_place.len(), 120);
    assert_eq!(world.released(), [(80, Release::Confirmed)]);
}

#[test]
fn what_is_confirmed_may_fail_and_be_tried_again_but_not_later() {
    let mut world = World::new(60);
    assert_eq!(world.pass(0, 0..10), 50);
    world.brake.confirm();
    let all = world.in_place.clone();
    assert_eq!(world.pass(1, 0..10), 0);
    // The kernel refused.
    world.in_place = all;
    assert_eq!(world.pass(1, 0..10), 0);
    // Back, and gone again: another withdrawal.
    assert_eq!(world.pass(1, 0..60), 0);
    assert_eq!(world.pass(100, 0..10), 50);
}

#[test]
fn a_restart_neither_releases_nor_begins_anew() {
    let mut world = World::new(200);
    assert_eq!(world.pass(0, 0..20), 180);
    assert_eq!(world.pass(100, 0..19), 181);
    world.restart(10_000);
    assert_eq!(world.pass(0, 0..19), 181);
    assert_eq!(world.brake.release_in(world.at()), Some(Duration::from_secs(200)));
    world.restart(10_000);
    assert_eq!(world.brake.hold().map(Hold::len), Some(181), "also before the first pass");
    assert_eq!(world.pass(0, 0..19), 181);
    assert_eq!(world.pass(199, 0..19), 181);
    assert_eq!(world.pass(1, 0..19), 0, "one alone is no mass");
    assert_eq!(world.released(), [(181, Release::Repeated)]);
}

#[test]
fn a_hold_of_which_nothing_is_in_place_after_a_restart_is_over() {
    let mut world = World::new(60);
    assert_eq!(world.pass(0, 0..10), 50);
    world.restart(0);
    world.in_place.clear();
    assert_eq!(world.pass(0, 0..10), 0);
    assert_eq!(world.released(), [(0, Release::CameBack)]);
}

#[test]
fn a_hold_is_written_down_when_it_changes_and_now_and_then() {
    let mut world = World::new(60);
    world.pass(0, 0..60);
    assert!(!world.brake.must_save());
    world.pass(0, 0..10);
    assert!(world.brake.must_save() && !world.brake.must_save());
    world.pass(14, 0..10);
    assert!(!world.brake.must_save());
    world.pass(1, 0..10);
    assert!(world.brake.must_save() && !world.brake.must_save());
    world.pass(1, 0..11);
    assert!(world.brake.must_save(), "one came back");
    world.brake.confirm();
    assert!(world.brake.must_save(), "there is none any more");
}

#[test]
fn the_shortcut_is_not_a_way_around() {
    let gone = |numbers: std::ops::Range<usize>| Amendment {
        removed: numbers.map(|number| plans::gone(prefix(number))).collect(),
        ..Amendment::default()
    };
    let mut world = World::new(100);
    assert!(world.brake.admits(&gone(0..25), 100, world.at()));
    assert!(!world.brake.admits(&gone(25..32), 75, world.at()), "32 of 100");
    assert!(world.brake.admits(&Amendment::default(), 75, world.at()));
    world.in_place = prefixes(25..100);
    assert_eq!(world.pass(10, 35..100), 10, "what went by the shortcut counts");
    assert!(!world.brake.admits(&gone(40..41), 75, world.at()), "while something is held");
}
