use super::*;
use crate::{
    model::{Object, SourceId},
    rib::{
        Table,
        fixtures::{node, pod, upsert},
        select,
    },
};

fn nets(list: &[&str]) -> Vec<ipnet::IpNet> {
    list.iter().map(|net| net.parse().unwrap()).collect()
}

fn table(local_pods: &[&str], cluster: &[&str]) -> MasqueradeTable {
    MasqueradeTable { local_pods: nets(local_pods), cluster: nets(cluster) }
}

/// Node a holds a prefix of each family, b one; a pod of a has an address of b's prefix.
fn of(own: &str) -> MasqueradeTable {
    let mut sources = Table::new([SourceId::FILE]);
    let mut a = node("a", "10.0.1.11", &["10.244.0.0/24", "fd00:244::/64"]);
    a.addresses.push("fd00:1::11".parse().unwrap());
    let b = node("b", "10.0.2.11", &["10.244.1.0/24", "10.245.0.0/24"]);
    for object in [
        Object::Node(a),
        Object::Node(b),
        Object::Pod(pod("x/home", "a", "10.244.0.10")),
        Object::Pod(pod("x/moved", "a", "10.244.1.10")),
        Object::Pod(pod("x/other", "b", "10.245.0.10")),
    ] {
        sources.apply(upsert(object));
    }
    let own = own.parse().unwrap();
    MasqueradeTable::of(&select(&sources, &own), &own)
}

#[test]
fn only_this_nodes_pods_are_masqueraded_and_never_towards_the_cluster() {
    let cluster =
        ["10.0.1.11/32", "10.0.2.11/32", "10.244.0.0/23", "10.245.0.0/24", "fd00:1::11/128", "fd00:244::/64"];
    assert_eq!(of("a"), table(&["10.244.0.0/24", "10.244.1.10/32", "fd00:244::/64"], &cluster));
    assert_eq!(of("b"), table(&["10.244.1.0/24", "10.245.0.0/24"], &cluster));
}

const DECLARATION: &str = "\
table inet podroute {
\tset local_pods_v4 {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 10.244.1.0/24 }
\t}
\tset cluster_v4 {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 10.0.1.11/32, 10.244.0.0/16 }
\t}
\tset local_pods_v6 {
\t\ttype ipv6_addr
\t\tflags interval
\t\telements = { fd00:244::/64 }
\t}
\tset cluster_v6 {
\t\ttype ipv6_addr
\t\tflags interval
\t\telements = { fd00::/16 }
\t}
\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\toifname \"lo\" return
\t\tip daddr 224.0.0.0/4 return
\t\tip6 daddr { fe80::/10, ff00::/8 } return
\t\tip saddr @local_pods_v4 ip daddr != @cluster_v4 masquerade fully-random
\t\tip6 saddr @local_pods_v6 ip6 daddr != @cluster_v6 masquerade fully-random
\t}
}
";

fn both() -> MasqueradeTable {
    table(&["10.244.1.0/24", "fd00:244::/64"], &["10.0.1.11/32", "10.244.0.0/16", "fd00::/16"])
}

#[test]
fn a_replaced_table_is_deleted_and_declared() {
    let expected = format!("table inet podroute {{}}\ndelete table inet podroute\n{DECLARATION}");
    assert_eq!(render::replace(&both()), expected);
    assert_eq!(render::remove(), "delete table inet podroute\n");
}

/// What is in it goes only after all of it is there, and before what is to be in it comes.
#[test]
fn a_filled_table_keeps_its_chain_and_its_sets() {
    let text = render::fill(&both());
    let (declared, filled) = text.split_once("flush chain inet podroute postrouting\n").unwrap();
    assert_eq!(declared.matches("\tset ").count(), 4, "{text}");
    assert!(declared.contains("\tchain postrouting {\n\t\ttype nat hook postrouting"), "{text}");
    assert!(!declared.contains("elements") && !declared.contains("masquerade"), "{text}");
    assert_eq!(
        filled,
        format!(
            "flush set inet podroute local_pods_v4\nflush set inet podroute cluster_v4\n\
             flush set inet podroute local_pods_v6\nflush set inet podroute cluster_v6\n{DECLARATION}"
        )
    );
    assert!(!text.contains("delete"), "{text}");
}

/// As nft 1.0.6 lists it with `--handle`.
#[test]
fn what_else_is_in_our_table_is_seen() {
    let ours = "table inet podroute { # handle 4
\tset local_pods_v4 { # handle 2
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 10.244.1.0/24 }
\t}

\tset cluster_v4 { # handle 3
\t}

\tset local_pods_v6 { # handle 4
\t}

\tset cluster_v6 { # handle 5
\t\telements = { fd00::1,
\t\t\t     fe80::/10 }
\t}

\tchain postrouting { # handle 1
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\tip saddr @local_pods_v4 ip daddr != @cluster_v4 masquerade fully-random # handle 6
\t}
}
";
    assert!(render::has_our_objects_only(ours));
    let more = ours.replace("\tchain", "\tchain before { # handle 7\n\t}\n\tchain");
    assert!(!render::has_our_objects_only(&more));
    assert!(!render::has_our_objects_only(&ours.replace("cluster_v6", "cluster_v5")));
    assert!(!render::has_our_objects_only(
        &ours.replace("\tset local_pods_v4", "\tflags dormant\n\tset local_pods_v4")
    ));
}

/// nft takes a list without elements for a mistake.
#[test]
fn a_family_without_prefixes_has_sets_without_elements() {
    let text = render::replace(&table(&["10.244.1.0/24"], &["10.244.1.0/24"]));
    assert!(text.contains("set local_pods_v6 {\n\t\ttype ipv6_addr\n\t\tflags interval\n\t}\n"), "{text}");
    assert_eq!(text.matches("elements").count(), 2, "{text}");
}

#[test]
fn nft_runs_only_when_there_may_be_something_to_do() {
    let (wanted, before) = (table(&["10.244.1.0/24"], &[]), table(&["10.244.2.0/24"], &[]));
    let made = |table: &MasqueradeTable| Made::Table { table: table.clone(), listing: String::new() };
    let cases = [
        // At the start nothing is known.
        (Some(&wanted), None, false, Step::Set),
        (Some(&wanted), None, true, Step::Set),
        (None, None, false, Step::Remove),
        // As wanted: read back at audits only.
        (Some(&wanted), Some(made(&wanted)), false, Step::Nothing),
        (Some(&wanted), Some(made(&wanted)), true, Step::Compare),
        (None, Some(Made::Nothing), false, Step::Nothing),
        (None, Some(Made::Nothing), true, Step::Nothing),
        // Something else is wanted.
        (Some(&wanted), Some(made(&before)), false, Step::Set),
        (Some(&wanted), Some(made(&before)), true, Step::Set),
        (Some(&wanted), Some(Made::Nothing), false, Step::Set),
        (None, Some(made(&before)), false, Step::Remove),
    ];
    for (wanted, made, audit, step) in cases {
        assert_eq!(next_step(wanted, made.as_ref(), audit), step, "{wanted:?} {made:?} {audit}");
    }
}

/// Invariant 4: what failed is tried again, with the next pass, not with the next audit.
#[tokio::test]
async fn invariant_4_a_failed_table_is_tried_again() {
    let mut masquerade = Masquerade::new(Nft::at("/nonexistent/nft"));
    let wanted = table(&["10.244.1.0/24"], &[]);
    for _ in 0..2 {
        let failed = masquerade.pass(Some(&wanted), false).await.unwrap_err();
        assert_eq!(failed.change, "set the nftables table inet podroute");
        assert_eq!(masquerade.in_place(), None);
    }
    assert!(!masquerade.pass(None, false).await.unwrap());
}
