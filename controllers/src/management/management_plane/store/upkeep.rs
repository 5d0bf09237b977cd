//! When a member's file is written anew, and what is done when etcd is out of space (no client required).

use kplane_crds::conditions::reason;

use crate::etcd::{Cluster, Member};
use crate::management::management_plane::build::QUOTA;

/// Something to do for the files of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Care {
    /// Nothing.
    None,
    /// Let this member write its file anew.
    Defragment(u64),
    /// Let this member take writes again.
    Disarm(u64),
}

/// What is to be done for the files, and what is to be said. `above` is the size from which on a file is worth it.
pub fn care(cluster: &Cluster, above: i64) -> (Care, Option<(&'static str, String)>) {
    if let Some(id) = cluster.corrupt.first() {
        let name = cluster.members.iter().find(|each| each.id == *id).map_or("a member", |each| &each.name);
        let message = format!(
            "{name} holds other data than the rest, and etcd refuses to go on; delete its pod and its claim, or restore a \
             snapshot by spec.store.etcd.managed.restore"
        );
        return (Care::None, Some((reason::CORRUPT, message)));
    }
    // A file that is written anew serves nobody: never when another does not either.
    let all_well = cluster.members.iter().all(Member::is_well);
    let full = !cluster.no_space.is_empty();
    let next = if all_well { next(cluster, above, full) } else { None };
    if let Some(id) = next {
        let note = full
            .then(|| (reason::NO_SPACE, "etcd has reached its quota; its files are written anew".to_owned()));
        return (Care::Defragment(id), note);
    }
    let Some(id) = cluster.no_space.first() else { return (Care::None, None) };
    let (size, quota) = cluster
        .members
        .iter()
        .filter_map(|each| each.state.as_ref())
        .map(|state| (state.size, if state.quota > 0 { state.quota } else { QUOTA }))
        .max_by_key(|(size, quota)| size * 100 / quota)
        .unwrap_or((0, QUOTA));
    if size * 10 < quota * 9 {
        let message = "etcd has room again and takes writes".to_owned();
        return (Care::Disarm(*id), Some((reason::NO_SPACE, message)));
    }
    let message = format!(
        "etcd holds {} of {} MiB and refuses writes; delete control planes or objects: room is made within minutes, when \
         their history is compacted",
        size >> 20,
        quota >> 20
    );
    (Care::None, Some((reason::NO_SPACE, message)))
}

/// What is to be said of an etcd that is somebody else's to care for.
pub fn of_others(cluster: &Cluster) -> Option<(&'static str, String)> {
    let name = |id: &u64| {
        let found = cluster.members.iter().find(|each| each.id == *id);
        found.map_or_else(|| format!("{id:x}"), |each| each.name.clone())
    };
    if let Some(id) = cluster.corrupt.first() {
        let message = format!(
            "etcd's member {} holds other data than the rest, and etcd refuses to go on; let its owner replace that member",
            name(id)
        );
        return Some((reason::CORRUPT, message));
    }
    let id = cluster.no_space.first()?;
    let message = format!(
        "etcd's member {} has no space left, and etcd refuses writes; let its owner compact and defragment it or raise its \
         --quota-backend-bytes, then take the alarm back by `etcdctl alarm disarm`",
        name(id)
    );
    Some((reason::NO_SPACE, message))
}

/// The member whose file is next to be written anew: the leader last, since all wait for it.
fn next(cluster: &Cluster, above: i64, full: bool) -> Option<u64> {
    let worth = |each: &&Member| {
        each.state.as_ref().is_some_and(|state| {
            // Half of a large file; when etcd is full, a tenth of any.
            let spare = state.size - state.used;
            if full {
                spare * 10 >= state.size && spare > 0
            } else {
                state.size > above && spare * 2 > state.size
            }
        })
    };
    let mut candidates: Vec<&Member> = cluster.members.iter().filter(worth).collect();
    candidates.sort_by_key(|each| each.id == cluster.leader);
    candidates.first().map(|each| each.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::MemberState;

    const MIB: i64 = 1 << 20;

    fn cluster(files: &[(i64, i64)]) -> Cluster {
        let members = files.iter().zip(1..).map(|((size, used), id)| Member {
            id,
            started: true,
            state: Some(MemberState { size: size * MIB, used: used * MIB, ..MemberState::default() }),
            ..Member::default()
        });
        Cluster { leader: 1, members: members.collect(), ..Cluster::default() }
    }

    #[test]
    fn one_file_at_a_time_is_written_anew_the_leaders_last() {
        let mut cluster = cluster(&[(200, 50), (200, 50), (200, 190)]);
        assert_eq!(care(&cluster, 100 * MIB), (Care::Defragment(2), None));
        cluster.members[1].state.as_mut().unwrap().size = 50 * MIB;
        assert_eq!(care(&cluster, 100 * MIB), (Care::Defragment(1), None));
        assert_eq!(care(&cluster, 300 * MIB), (Care::None, None));
        cluster.members[2].state = None;
        assert_eq!(care(&cluster, 100 * MIB), (Care::None, None), "a member is missing");
    }

    #[test]
    fn a_full_etcd_is_made_room_in_then_takes_writes_again() {
        let mut full = cluster(&[(8190, 8000), (8190, 100)]);
        full.no_space = vec![2];
        assert_eq!(care(&full, 0).0, Care::Defragment(2));
        full.members[1].state.as_mut().unwrap().size = 100 * MIB;
        let (care_now, note) = care(&full, 0);
        assert_eq!(care_now, Care::None, "the other is still full");
        assert!(note.unwrap().1.contains("8190 of 8192 MiB"));
        full.members[0].state.as_mut().unwrap().size = 7000 * MIB;
        full.members[0].state.as_mut().unwrap().used = 6900 * MIB;
        assert_eq!(care(&full, 0).0, Care::Disarm(2));
    }

    #[test]
    fn the_etcd_of_somebody_else_is_not_said_to_be_cared_for() {
        let mut full = cluster(&[(10, 1)]);
        assert_eq!(of_others(&full), None);
        full.no_space = vec![1];
        let (why, message) = of_others(&full).unwrap();
        assert_eq!(why, reason::NO_SPACE);
        assert!(message.contains("etcdctl alarm disarm"), "{message}");
    }

    #[test]
    fn other_data_than_the_rest_is_said() {
        let mut wrong = cluster(&[(1, 1)]);
        wrong.corrupt = vec![1];
        assert_eq!(care(&wrong, 0).1.unwrap().0, reason::CORRUPT);
        assert_eq!(of_others(&wrong).unwrap().0, reason::CORRUPT);
    }
}
