use super::super::*;

/// What is wrong with this route, which stands in line 5 after one to 192.0.2.0/24.
fn refused(route: &str) -> String {
    let nodes = "nodes:\n- {name: a1, addresses: [10.0.1.11, 'fd00::11']}\n";
    let text = format!("{nodes}routes:\n- {{prefix: 192.0.2.0/24, next-hops: [10.0.1.5]}}\n- {route}\n");
    parse(&text, "cluster.yaml", &Part::WHOLE).expect_err(route).to_string()
}

/// Invariant 8: bad input gets an error that says file, line, column, field, value and what is allowed.
#[test]
fn a_bad_route_is_refused() {
    let seventeen: Vec<String> = (1..=17).map(|last| format!("10.0.1.{last}")).collect();
    let seventeen = format!("{{prefix: 10.9.0.0/16, next-hops: [{}]}}", seventeen.join(", "));
    let cases = [
        (
            "{next-hops: [10.0.1.5]}",
            "5:3: routes[1].prefix: this field is required and missing; allowed: the prefix that is reached",
        ),
        (
            "{prefix: 0.0.0.0/0, next-hops: [10.0.1.5]}",
            "5:12: routes[1].prefix: 0.0.0.0/0 is everything; allowed: a prefix of unicast addresses, as the default route is the host's own",
        ),
        (
            "{prefix: '::/0', next-hops: ['fd00::5']}",
            "5:12: routes[1].prefix: ::/0 is everything; allowed: a prefix of unicast addresses, as the default route is the host's own",
        ),
        (
            "{prefix: 192.0.2.0/24, next-hops: [10.0.1.6]}",
            "5:12: routes[1].prefix: 192.0.2.0/24 stands in line 4 already; allowed: each prefix once, with all its next hops",
        ),
        (
            "{prefix: 10.0.0.0/16, next-hops: [10.9.0.5]}",
            "5:12: routes[1].prefix: 10.0.0.0/16 contains 10.0.1.11, the address of node a1; allowed: a prefix without nodes",
        ),
        (
            "{prefix: 224.0.0.0/8, next-hops: [10.0.1.5]}",
            "5:12: routes[1].prefix: 224.0.0.0/8 overlaps 224.0.0.0/4, which is multicast; allowed: a prefix of unicast addresses",
        ),
        ("{prefix: 10.9.0.0/16}", "5:3: routes[1].next-hops: 0 next hops; allowed: 1 to 16"),
        ("{prefix: 10.9.0.0/16, next-hops: []}", "5:36: routes[1].next-hops: 0 next hops; allowed: 1 to 16"),
        (&seventeen, "5:36: routes[1].next-hops: 17 next hops; allowed: 1 to 16"),
        (
            "{prefix: 10.9.0.0/16, next-hops: [10.0.1.5, 10.0.1.5]}",
            "5:47: routes[1].next-hops[1]: 10.0.1.5 stands twice; allowed: each next hop once",
        ),
        (
            "{prefix: 10.9.0.0/16, next-hops: [10.0.1.5/24]}",
            "5:37: routes[1].next-hops[0]: \"10.0.1.5/24\" is not an IP address; allowed: one such as 10.0.1.5, without a length",
        ),
        (
            "{prefix: 10.9.0.0/16, next-hops: ['fd00::5']}",
            "5:37: routes[1].next-hops[0]: fd00::5 is no address of the family of 10.9.0.0/16; allowed: next hops of the family of the prefix",
        ),
        (
            "{prefix: 10.9.0.0/16, next-hops: [10.9.0.5]}",
            "5:37: routes[1].next-hops[0]: 10.9.0.5 is in 10.9.0.0/16, so that it would be reached by itself; allowed: an address outside of it",
        ),
        (
            "{prefix: 10.9.0.0/16, next-hop: [10.0.1.5]}",
            "5:25: routes[1].next-hop: unknown field; allowed: prefix, next-hops",
        ),
    ];
    for (route, message) in cases {
        assert_eq!(refused(route), format!("cluster.yaml:{message}"), "{route}");
    }
}
