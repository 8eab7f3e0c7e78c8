//! A deserializer in front of another one, which tallies what the values that pass through it cost. One
//! wrapper for all of serde's roles: each implementation forwards, and accounts where memory or depth
//! is involved. Scalars pass untouched.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::Limits;

/// Elements that a container makes room for at first.
const FIRST_ELEMENTS: usize = 4;
/// Elements that are paid for at once at most.
const MAX_PORTION: usize = 4096;
/// Entries for which a map takes one more node, and the entries that a node has room for.
const NODE_ENTRIES: (usize, usize) = (6, 12);
/// What a container or text on the heap costs beside its contents.
const HEAP_OVERHEAD_BYTES: usize = 16;

/// Something of serde's, under limits. With `INLINE` its parts lie inside a value that is paid for already.
pub(super) struct Bounded<'l, X, const INLINE: bool = false> {
    inner: X,
    limits: &'l Limits,
}

impl<'l, X, const INLINE: bool> Bounded<'l, X, INLINE> {
    #[inline]
    pub(super) fn new(inner: X, limits: &'l Limits) -> Self {
        Self { inner, limits }
    }
}

/// The parts of a container, one after the other.
struct Parts<'l, A, const INLINE: bool> {
    inner: A,
    limits: &'l Limits,
    /// Elements or entries that have been paid for and are still to come.
    paid: usize,
    /// Elements or entries that have been paid for in all.
    portions: usize,
    /// Size of the key at hand.
    key_size: usize,
}

impl<'l, A, const INLINE: bool> Parts<'l, A, INLINE> {
    #[inline]
    fn new(inner: A, limits: &'l Limits) -> Self {
        Self { inner, limits, paid: 0, portions: 0, key_size: 0 }
    }

    /// Accounts for one more element of that size, or entry of a map.
    #[inline]
    fn more<E: Error>(&mut self, size: usize, charge: Charge) -> Result<(), E> {
        if INLINE {
            return Ok(());
        }
        if size == 0 {
            return self.limits.empty_element();
        }
        if self.paid == 0 {
            self.pay(size, charge)?;
        }
        self.paid -= 1;
        Ok(())
    }

    fn pay<E: Error>(&mut self, size: usize, charge: Charge) -> Result<(), E> {
        let (elements, room) = match charge {
            Charge::Elements => (self.portions.clamp(FIRST_ELEMENTS, MAX_PORTION), 0),
            Charge::Entries => NODE_ENTRIES,
        };
        let overhead = if self.portions == 0 { HEAP_OVERHEAD_BYTES } else { 0 };
        self.limits.charge(elements.max(room).saturating_mul(size).saturating_add(overhead))?;
        self.portions += elements;
        self.paid = elements;
        Ok(())
    }

    /// What is read next lies in a value that has been paid for, or is about to be.
    #[inline]
    fn prepay(&self, size: usize) {
        if !INLINE {
            self.limits.prepaid_bytes.set(size);
        }
    }
}

/// In what portions a container takes memory.
#[derive(Clone, Copy)]
enum Charge {
    Elements,
    Entries,
}

macro_rules! forward {
    ($visitor:ident => $wrapped:expr; $($deserialize:ident)*) => {
        $(
            #[inline]
            fn $deserialize<V: Visitor<'de>>(self, $visitor: V) -> Result<V::Value, D::Error> {
                self.inner.$deserialize($wrapped(self.limits))
            }
        )*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    // Numbers: no encoding of ours brings anything with parts in their place.
    forward! { visitor => |_| visitor;
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    forward! { visitor => |limits| Bounded::<_, false>::new(visitor, limits);
        deserialize_any deserialize_char deserialize_str deserialize_bytes deserialize_option
        deserialize_unit deserialize_seq deserialize_map deserialize_ignored_any
    }

    // The borrowing kind, so that no memory is asked for before the bytes are seen to be there.
    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_bytes(visitor)
    }

    /// Names of fields and variants are compared, not kept.
    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_identifier(visitor)
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, Bounded::<_, false>::new(visitor, self.limits))
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.limits.compound(size_of::<V::Value>())?;
        self.inner.deserialize_newtype_struct(name, Bounded::<_, true>::new(visitor, self.limits))
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.limits.compound(size_of::<V::Value>())?;
        self.inner.deserialize_tuple(len, Bounded::<_, true>::new(visitor, self.limits))
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.limits.compound(size_of::<V::Value>())?;
        self.inner.deserialize_tuple_struct(name, len, Bounded::<_, true>::new(visitor, self.limits))
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.limits.compound(size_of::<V::Value>())?;
        self.inner.deserialize_struct(name, fields, Bounded::<_, true>::new(visitor, self.limits))
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.limits.compound(size_of::<V::Value>())?;
        self.inner.deserialize_enum(name, variants, Bounded::<_, false>::new(visitor, self.limits))
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit_scalars {
    ($($visit:ident: $type:ty),*) => {
        $(
            #[inline]
            fn $visit<E: Error>(self, value: $type) -> Result<V::Value, E> {
                self.inner.$visit(value)
            }
        )*
    };
}

macro_rules! visit_texts {
    ($($visit:ident: $type:ty),*) => {
        $(
            fn $visit<E: Error>(self, value: $type) -> Result<V::Value, E> {
                self.limits.charge(value.len() + HEAP_OVERHEAD_BYTES)?;
                self.inner.$visit(value)
            }
        )*
    };
}

impl<'de, V: Visitor<'de>, const INLINE: bool> Visitor<'de> for Bounded<'_, V, INLINE> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(formatter)
    }

    visit_scalars! {
        visit_bool: bool, visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64, visit_i128: i128,
        visit_u8: u8, visit_u16: u16, visit_u32: u32, visit_u64: u64, visit_u128: u128,
        visit_f32: f32, visit_f64: f64, visit_char: char
    }

    visit_texts! {
        visit_str: &str, visit_borrowed_str: &'de str, visit_string: String,
        visit_bytes: &[u8], visit_borrowed_bytes: &'de [u8], visit_byte_buf: Vec<u8>
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.limits.descend()?;
        let value = self.inner.visit_some(Bounded::<_>::new(deserializer, self.limits));
        self.limits.ascend();
        value
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.limits.descend()?;
        let value = self.inner.visit_newtype_struct(Bounded::<_>::new(deserializer, self.limits));
        self.limits.ascend();
        value
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.limits.descend()?;
        let value = self.inner.visit_seq(Parts::<_, INLINE>::new(access, self.limits));
        self.limits.ascend();
        value
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.limits.descend()?;
        let value = self.inner.visit_map(Parts::<_, INLINE>::new(access, self.limits));
        self.limits.ascend();
        value
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.limits.descend()?;
        let value = self.inner.visit_enum(Bounded::<_>::new(access, self.limits));
        self.limits.ascend();
        value
    }
}

impl<'de, A: SeqAccess<'de>, const INLINE: bool> SeqAccess<'de> for Parts<'_, A, INLINE> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let size = size_of::<T::Value>();
        self.prepay(size);
        let seed = Bounded::<_>::new(seed, self.limits);
        let element = self.inner.next_element_seed(seed)?;
        if element.is_some() {
            self.more(size, Charge::Elements)?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.limits.believable(self.inner.size_hint())
    }
}

impl<'de, A: MapAccess<'de>, const INLINE: bool> MapAccess<'de> for Parts<'_, A, INLINE> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.key_size = size_of::<K::Value>();
        self.prepay(self.key_size);
        let seed = Bounded::<_>::new(seed, self.limits);
        self.inner.next_key_seed(seed)
    }

    /// The pair is paid for here, where the sizes of both are known.
    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let size = size_of::<T::Value>();
        self.more(self.key_size + size, Charge::Entries)?;
        self.prepay(size);
        let seed = Bounded::<_>::new(seed, self.limits);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.limits.believable(self.inner.size_hint())
    }
}

impl<'de, 'l, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'l, A> {
    type Error = A::Error;
    type Variant = Bounded<'l, A::Variant>;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), A::Error> {
        let limits = self.limits;
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, Bounded::new(variant, limits)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.newtype_variant_seed(Bounded::<_>::new(seed, self.limits))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Bounded::<_, true>::new(visitor, self.limits))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Bounded::<_, true>::new(visitor, self.limits))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Bounded::<_>::new(deserializer, self.limits))
    }
}
