//! `resourceVersion`, `resourceVersionMatch`, `limit` and `continue` of lists, in every combination that
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions> speaks of.

use kplane_tests::version;
use serde_json::json;

use crate::*;

/// What a combination means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    MostRecent,
    Any,
    NotOlder,
    Exact,
    Invalid,
}
use Meaning::{Any, Exact, Invalid, MostRecent, NotOlder};

/// Which version is asked for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Unset,
    Zero,
    Past,
}
use Asked::{Past, Unset, Zero};

#[test]
fn lists_mean_what_the_table_says() {
    let (a, _server) = setup();
    a.post(CONFIG_MAPS, &config_map("one", "x")).ok();
    let past = version(&a.post(CONFIG_MAPS, &config_map("two", "x")).ok());
    a.post(CONFIG_MAPS, &config_map("three", "x")).ok();
    a.delete(&format!("{CONFIG_MAPS}/one")).ok();
    let selected = format!("{CONFIG_MAPS}?labelSelector=set%3Dx");
    let now = version(&a.get(&selected).ok());

    let table = [
        // limit, match, version, meaning
        (false, "", Unset, MostRecent),
        (false, "", Zero, Any),
        (false, "", Past, NotOlder),
        (true, "", Unset, MostRecent),
        (true, "", Zero, Any),
        (true, "", Past, Exact),
        (false, "Exact", Unset, Invalid),
        (false, "Exact", Zero, Invalid),
        (false, "Exact", Past, Exact),
        (true, "Exact", Unset, Invalid),
        (true, "Exact", Zero, Invalid),
        (true, "Exact", Past, Exact),
        (false, "NotOlderThan", Unset, Invalid),
        (false, "NotOlderThan", Zero, Any),
        (false, "NotOlderThan", Past, NotOlder),
        (true, "NotOlderThan", Unset, Invalid),
        (true, "NotOlderThan", Zero, Any),
        (true, "NotOlderThan", Past, NotOlder),
        (false, "Nope", Past, Invalid),
    ];
    for (limited, matching, asked, meaning) in table {
        let mut path = selected.clone();
        if limited {
            path.push_str("&limit=10");
        }
        if !matching.is_empty() {
            path.push_str(&format!("&resourceVersionMatch={matching}"));
        }
        match asked {
            Unset => {}
            Zero => path.push_str("&resourceVersion=0"),
            Past => path.push_str(&format!("&resourceVersion={past}")),
        }
        let answer = a.get(&path);
        if meaning == Invalid {
            assert_eq!(
                (answer.code, &answer.body["reason"]),
                (422, &json!("Invalid")),
                "{path}: {}",
                answer.text
            );
            assert!(answer.text.contains("ListOptions.meta.k8s.io"), "{path}: {}", answer.text);
            continue;
        }
        let list = answer.ok();
        let (found, at) = (names(&list), version(&list));
        match meaning {
            Exact => {
                assert_eq!((found, at), (vec!["one".to_owned(), "two".to_owned()], past), "{path}");
            }
            MostRecent => {
                assert_eq!(found, ["three", "two"], "{path}");
                assert!(at >= now, "{path}: {at}");
            }
            NotOlder => assert!(at >= past && found.contains(&"two".to_owned()), "{path}: {list}"),
            Any | Invalid => assert!(!found.is_empty(), "{path}: {list}"),
        }
    }
    // A version that is no number, and one that is yet to come.
    a.get(&format!("{selected}&resourceVersion=abc")).refused(400);
    let answer = a.get(&format!("{selected}&resourceVersion={}", now + 1_000_000));
    assert_eq!((answer.code, &answer.body["reason"]), (504, &json!("Timeout")), "{}", answer.text);
    assert_eq!(answer.body["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

#[test]
fn pages_go_on_where_they_ended() {
    let (a, _server) = setup();
    for i in 0..7 {
        a.post(CONFIG_MAPS, &config_map(&format!("c{i}"), if i % 2 == 0 { "even" } else { "odd" })).ok();
    }
    // How many are left is told, but not where a selector would have to be asked for each of them.
    let all = a.get(&format!("{CONFIG_MAPS}?limit=3")).ok();
    assert_eq!(all["metadata"]["remainingItemCount"], 5, "kube-root-ca.crt is one of them: {all}");
    let even = a.get(&format!("{CONFIG_MAPS}?labelSelector=set%3Deven&limit=3")).ok();
    assert_eq!(names(&even), ["c0", "c2", "c4"]);
    assert_eq!(even["metadata"].get("remainingItemCount"), None);
    let token = even["metadata"]["continue"].as_str().expect("more");
    let rest = a.get(&format!("{CONFIG_MAPS}?labelSelector=set%3Deven&limit=3&continue={token}")).ok();
    assert_eq!((names(&rest), version(&rest)), (vec!["c6".to_owned()], version(&even)));
    assert_eq!(rest["metadata"].get("continue"), None);
    // Without a limit, the rest comes whole.
    let token = all["metadata"]["continue"].as_str().expect("more");
    assert_eq!(names(&a.get(&format!("{CONFIG_MAPS}?continue={token}")).ok()).len(), 5);
    // What does not go with a token.
    let told =
        a.get(&format!("{CONFIG_MAPS}?continue={token}&resourceVersion={}", version(&all))).refused(400);
    assert!(told.contains("specifying resource version is not allowed when using continue"), "{told}");
    let exact = format!("{CONFIG_MAPS}?continue={token}&resourceVersionMatch=Exact&resourceVersion=1");
    a.get(&exact).refused(422);
    // Tokens of nobody's making; one of another list is no way out of this one.
    for bad in ["zzz", "a*", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIvLi4vLi4vb3RoZXIvYSJ9"] {
        let told = a.get(&format!("{CONFIG_MAPS}?limit=1&continue={bad}")).refused(400);
        assert!(told.contains("continue key is not valid"), "{told}");
    }
    // A limit of nothing is none; one below that counts as none too.
    assert_eq!(names(&a.get(&format!("{CONFIG_MAPS}?limit=0")).ok()).len(), 8);
    // What is deleted by pages is what the page holds.
    let deleted = a.delete(&format!("{CONFIG_MAPS}?labelSelector=set%3Dodd")).ok();
    assert_eq!(names(&deleted), ["c1", "c3", "c5"]);
}
