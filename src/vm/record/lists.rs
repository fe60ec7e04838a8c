//! How a patch changes a list: it replaces all of it, or takes items away and adds others.

use super::{RecordError, VmId};

/// The list that results. What is to come and is there, or is to go and is not, changes nothing, so a patch can be
/// repeated; what is to go and to come stays.
pub(super) fn changed<T: Clone + PartialEq>(
    list: &'static str,
    id: &VmId,
    old: &[T],
    whole: Option<Vec<T>>,
    add: &[T],
    delete: &[T],
) -> Result<Vec<T>, RecordError> {
    match whole {
        Some(_) if !add.is_empty() || !delete.is_empty() => Err(RecordError::WholeAndPart { id: id.clone(), list }),
        Some(whole) => Ok(whole),
        None => {
            let stay = old.iter().filter(|item| !delete.contains(item));
            Ok(stay.chain(add).cloned().collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(whole: Option<&[u8]>, add: &[u8], delete: &[u8]) -> Option<Vec<u8>> {
        changed("macs", &"a".parse().unwrap(), &[1, 2, 3], whole.map(<[u8]>::to_vec), add, delete).ok()
    }

    #[test]
    fn items_come_and_go_and_the_rest_stays() {
        assert_eq!(of(None, &[], &[]), Some(vec![1, 2, 3]));
        assert_eq!(of(None, &[4], &[1, 9]), Some(vec![2, 3, 4]));
        assert_eq!(of(None, &[2], &[2]), Some(vec![1, 3, 2]));
        assert_eq!(of(Some(&[7]), &[], &[]), Some(vec![7]));
        assert_eq!(of(Some(&[]), &[], &[]), Some(vec![]));
        assert_eq!((of(Some(&[7]), &[1], &[]), of(Some(&[7]), &[], &[1])), (None, None), "which of the two is meant?");
    }
}
