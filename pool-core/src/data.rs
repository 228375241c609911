//! [`Data`]: what a user keeps beside a resource.

use std::any::Any;
use std::fmt;

/// What a user keeps beside a resource, for as long as the resource lives: one value of each type.
///
/// A hook puts in what belongs to the resource, as the statements prepared on a connection, and each
/// holder finds it there. An empty one takes no memory of its own.
///
/// # Examples
///
/// ```
/// use pool_core::Data;
///
/// #[derive(Debug, PartialEq)]
/// struct Database(&'static str);
///
/// let mut data = Data::new();
/// data.insert(Database("orders"));
/// data.insert(0_u64);
/// *data.get_mut::<u64>().unwrap() += 1;
/// assert_eq!(data.get(), Some(&1_u64));
/// assert_eq!(data.insert(Database("users")), Some(Database("orders")));
/// assert_eq!(data.get::<String>(), None);
/// ```
#[derive(Default)]
pub struct Data {
    /// In a box, so that an empty one is a pointer in the pool's books. `None` when there is no value.
    values: Option<Box<Values>>,
}

/// Looked through in order: there are few types, and a comparison is cheaper than a hash.
#[derive(Default)]
struct Values(Vec<Box<dyn Any + Send + Sync>>);

impl Data {
    /// Without a value.
    pub const fn new() -> Self {
        Self { values: None }
    }

    /// The value of this type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.values.as_ref()?.0.iter().find_map(|value| value.downcast_ref())
    }

    /// The value of this type, to change it.
    pub fn get_mut<T: Any + Send + Sync>(&mut self) -> Option<&mut T> {
        self.values.as_mut()?.0.iter_mut().find_map(|value| value.downcast_mut())
    }

    /// Puts a value in, and gives back the one of the same type that was there before.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) -> Option<T> {
        if let Some(present) = self.get_mut() {
            return Some(std::mem::replace(present, value));
        }
        self.values.get_or_insert_default().0.push(Box::new(value));
        None
    }

    /// Takes the value of this type out.
    pub fn remove<T: Any + Send + Sync>(&mut self) -> Option<T> {
        let Values(values) = &mut **self.values.as_mut()?;
        let index = values.iter().position(|value| value.is::<T>())?;
        values.swap_remove(index).downcast().ok().map(|value| *value)
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.0.len())
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn there_is_one_value_of_each_type() {
        let mut data = Data::new();
        assert_eq!(
            (data.insert(1_u32), data.insert(2_u64), data.insert(3_u32)),
            (None, None, Some(1))
        );
        assert_eq!((data.get::<u32>(), data.get::<u64>(), data.len()), (Some(&3), Some(&2), 2));
    }

    #[test]
    fn what_is_changed_in_place_stays_changed() {
        let mut data = Data::new();
        data.insert(String::from("a"));
        data.get_mut::<String>().unwrap().push('b');
        assert_eq!(data.get::<String>().unwrap(), "ab");
        assert_eq!(data.get_mut::<&str>(), None);
    }

    #[test]
    fn what_is_taken_out_is_gone_and_the_others_stay() {
        let mut data = Data::new();
        data.insert('a');
        data.insert(1_u8);
        data.insert(2_u16);
        assert_eq!((data.remove::<char>(), data.remove::<char>()), (Some('a'), None));
        assert_eq!((data.get::<u8>(), data.get::<u16>(), data.len()), (Some(&1), Some(&2), 2));
    }

    #[test]
    fn values_are_dropped_with_it() {
        let value = Arc::new(());
        let mut data = Data::new();
        data.insert(Arc::clone(&value));
        drop(data);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn an_empty_one_takes_no_memory() {
        let mut data = Data::default();
        assert!(data.is_empty());
        assert!(data.values.is_none());
        assert_eq!(size_of::<Data>(), size_of::<usize>());
        data.insert(());
        assert!(!data.is_empty());
    }
}
