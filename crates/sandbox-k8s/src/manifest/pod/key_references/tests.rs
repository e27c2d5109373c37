use std::fmt;

use k8s_openapi::api::core::v1::PodSpec;
use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::json;

use super::*;

const OTHER: &str = "sbx-other-keys";

/// Deserializes into any type of Kubernetes with every field set, every list with one element, and every text the
/// same. So a test sees all fields of the version that this workspace is built for.
#[derive(Clone, Copy)]
struct EveryField(&'static str);

impl<'de> Deserializer<'de> for EveryField {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(true)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(1)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(1)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(match name {
            "Time" => Self("2026-01-01T00:00:00Z"),
            _ => self,
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Elements {
            text: self,
            remaining: 1,
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Fields {
            text: self,
            names: ["key"].iter(),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Fields {
            text: self,
            names: fields.iter(),
        })
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct enum identifier ignored_any
    }
}

struct Elements {
    text: EveryField,
    remaining: usize,
}

impl<'de> SeqAccess<'de> for Elements {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(remaining) = self.remaining.checked_sub(1) else {
            return Ok(None);
        };
        self.remaining = remaining;
        seed.deserialize(self.text).map(Some)
    }
}

struct Fields {
    text: EveryField,
    names: std::slice::Iter<'static, &'static str>,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some(name) = self.names.next() else {
            return Ok(None);
        };
        let name: StrDeserializer<'_, Error> = (*name).into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.text)
    }
}

impl fmt::Debug for EveryField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The list is compared with all fields of a Pod's specification, so that a later version of Kubernetes with a new
/// kind of reference changes it.
#[test]
fn every_field_that_names_a_secret_is_found() {
    let spec = PodSpec::deserialize(EveryField(OTHER)).unwrap();
    let spec = serde_json::to_value(&spec).unwrap();
    let mut places: Vec<_> = find(&spec)
        .into_iter()
        .map(|reference| reference.place)
        .collect();
    places.retain(|place| {
        // The keys within a Secret, and the files for them, are named as well.
        !["key", "path", "fsType", "readOnly"]
            .iter()
            .any(|field| place.ends_with(&format!(".{field}")))
    });
    places.sort();
    places.dedup();
    let of_containers = |list: &str| {
        [
            format!("spec.{list}.env.valueFrom.secretKeyRef.name"),
            format!("spec.{list}.envFrom.secretRef.name"),
        ]
    };
    let mut expected: Vec<_> = ["containers", "ephemeralContainers", "initContainers"]
        .into_iter()
        .flat_map(of_containers)
        .collect();
    expected.extend(
        [
            "spec.imagePullSecrets.name",
            "spec.volumes.azureFile.secretName",
            "spec.volumes.cephfs.secretFile",
            "spec.volumes.cephfs.secretRef.name",
            "spec.volumes.cinder.secretRef.name",
            "spec.volumes.csi.nodePublishSecretRef.name",
            "spec.volumes.flexVolume.secretRef.name",
            "spec.volumes.iscsi.secretRef.name",
            "spec.volumes.projected.sources.secret.name",
            "spec.volumes.rbd.secretRef.name",
            "spec.volumes.scaleIO.secretRef.name",
            "spec.volumes.secret.secretName",
            "spec.volumes.storageos.secretRef.name",
        ]
        .map(str::to_owned),
    );
    expected.sort();
    assert_eq!(places, expected);
}

#[test]
fn other_text_with_the_name_of_a_secret_is_no_reference() {
    let spec = json!({
        "containers": [{
            "args": [OTHER], "env": [{"name": "KEYS", "value": OTHER}],
            "envFrom": [{"secretRef": {"name": "mine"}}, {"configMapRef": {"name": OTHER}}],
        }],
        "volumes": [{"name": OTHER, "csi": {"volumeAttributes": {"secretName": OTHER}}}],
    });
    let found = find(&spec);
    assert_eq!(
        found,
        [KeyReference {
            place: "spec.volumes.csi.volumeAttributes.secretName".into(),
            secret: OTHER.into(),
        }]
    );
}
