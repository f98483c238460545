use proptest::prelude::*;

use super::*;

const FEW: BrakeSettings = BrakeSettings { share: 30, at_least: 5, release_after: Duration::from_secs(100) };

#[derive(Debug, Clone)]
enum Step {
    /// Time passes and a pass is made with these routes wanted.
    Pass(u64, BTreeSet<usize>),
    /// The same with a source that has failed.
    Unhealthy(u64, BTreeSet<usize>),
    Confirm,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let wanted = || prop::collection::btree_set(0_usize..40, 0..40);
    prop_oneof![
        6 => (0_u64..90, wanted()).prop_map(|(after, wanted)| Step::Pass(after, wanted)),
        1 => (0_u64..90, wanted()).prop_map(|(after, wanted)| Step::Unhealthy(after, wanted)),
        1 => Just(Step::Confirm),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// Invariant 2: whatever happens, no pass takes away more than the brake allows, but for what was confirmed or has been
    /// missing for long enough, by healthy sources, in every pass.
    #[test]
    fn invariant_2_no_pass_takes_away_more_than_the_brake_allows(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::with(FEW, 40);
        world.pass(0, 0..40);
        // Since when each route has been missing; what was held when someone confirmed.
        let mut missing: BTreeMap<Prefix, u64> = BTreeMap::new();
        let mut confirmed: BTreeSet<Prefix> = BTreeSet::new();
        for step in steps {
            let (after, wanted, healthy) = match step {
                Step::Pass(after, wanted) => (after, wanted, true),
                Step::Unhealthy(after, wanted) => (after, wanted, false),
                Step::Confirm => {
                    confirmed.extend(world.brake.confirm().unwrap_or_default());
                    continue;
                }
                Step::Restart => {
                    world.restart(0);
                    continue;
                }
            };
            let before = world.in_place.clone();
            world.healthy = healthy;
            world.pass(after, wanted.iter().copied());
            let (wanted, now) = (prefixes(wanted), world.now);
            missing.retain(|prefix, _| !wanted.contains(prefix));
            confirmed.retain(|prefix| !wanted.contains(prefix));
            for prefix in before.difference(&wanted) {
                let since = missing.entry(*prefix).or_insert(now);
                if !healthy {
                    *since = now;
                }
            }
            let gone = before.difference(&world.in_place);
            let free = |prefix: &&Prefix| confirmed.contains(*prefix) || now - missing[*prefix] >= 100;
            let unasked = gone.filter(|prefix| !free(prefix)).count();
            prop_assert!(
                !FEW.exceeded_by(unasked, before.len()),
                "{unasked} of {} went", before.len()
            );
        }
    }

    /// Whatever was before: what the sources say for long enough is done in the end, and nothing is held for ever.
    #[test]
    fn what_is_said_for_long_enough_is_done(
        steps in prop::collection::vec(step(), 0..20),
        last in prop::collection::btree_set(0_usize..40, 0..40),
    ) {
        let mut world = World::with(FEW, 40);
        for step in steps {
            match step {
                Step::Pass(after, wanted) | Step::Unhealthy(after, wanted) => {
                    world.pass(after, wanted);
                }
                Step::Confirm => drop(world.brake.confirm()),
                Step::Restart => world.restart(0),
            }
        }
        for _ in 0..11 {
            world.pass(10, last.iter().copied());
        }
        prop_assert_eq!(&world.in_place, &prefixes(last));
        prop_assert!(world.brake.hold().is_none());
    }
}
