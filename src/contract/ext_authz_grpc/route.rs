//! The route that Envoy Gateway names (`extAuth.includeRouteMetadata`, since 1.8).

use super::wire::{Kind, Metadata, Struct};
use crate::policy::RouteName;

/// The filter whose metadata names the route.
const FILTER: &str = "envoy-gateway";

/// The field with the list of resources from which Envoy Gateway built the route of Envoy.
const RESOURCES: &str = "resources";

/// Returns the route in the metadata. `None` if there is none, or if several resources or an unknown form leave it open.
pub(super) fn named_route(metadata: &Metadata) -> Option<RouteName> {
    let mut filters = metadata.filter_metadata.iter().rev();
    let filter = filters.find(|entry| entry.key == FILTER)?.value.as_ref()?;
    let Kind::List(resources) = filter.get(RESOURCES)? else {
        return None;
    };
    let [resource] = resources.values.as_slice() else {
        return None;
    };
    let Some(Kind::Struct(resource)) = &resource.kind else {
        return None;
    };
    route_name(resource)
}

fn route_name(resource: &Struct) -> Option<RouteName> {
    let text = |key| resource.text(key).filter(|text| !text.is_empty());
    let (kind, namespace, name) = (text("kind")?, text("namespace")?, text("name")?);
    Some(RouteName::new(kind, namespace, name, text("sectionName")))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3 as envoy;
    use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
    use envoy_types::pb::google::protobuf;
    use prost::Message;

    use super::*;
    use crate::contract::ext_authz_grpc::wire;

    fn text(text: &str) -> protobuf::Value {
        protobuf::Value {
            kind: Some(protobuf::value::Kind::StringValue(text.to_owned())),
        }
    }

    fn resource(fields: &[(&str, &str)]) -> protobuf::Value {
        let fields = fields.iter();
        let fields = fields.map(|(key, value)| ((*key).to_owned(), text(value)));
        let fields = protobuf::Struct {
            fields: fields.collect(),
        };
        protobuf::Value {
            kind: Some(protobuf::value::Kind::StructValue(fields)),
        }
    }

    /// Encodes with Envoy's definitions, and reads with Curfew's.
    fn read(resources: Vec<protobuf::Value>) -> Option<RouteName> {
        let list = protobuf::ListValue { values: resources };
        let list = protobuf::Value {
            kind: Some(protobuf::value::Kind::ListValue(list)),
        };
        let fields = [("resources".to_owned(), list)];
        let filter = protobuf::Struct {
            fields: fields.into(),
        };
        let attributes = AttributeContext {
            route_metadata_context: Some(envoy::Metadata {
                filter_metadata: [("envoy-gateway".to_owned(), filter)].into(),
                ..envoy::Metadata::default()
            }),
            ..AttributeContext::default()
        };
        let bytes = attributes.encode_to_vec();
        let read = wire::AttributeContext::decode(bytes.as_slice()).unwrap();
        named_route(&read.route_metadata_context.unwrap())
    }

    #[test]
    fn only_a_complete_name_of_one_route_is_used() {
        let complete = [("kind", "HTTPRoute"), ("namespace", "crm"), ("name", "web")];
        let name = RouteName::new("HTTPRoute", "crm", "web", None);
        assert_eq!(read(vec![resource(&complete)]), Some(name));
        let with_section = [&complete[..], &[("sectionName", "api")]].concat();
        let name = RouteName::new("HTTPRoute", "crm", "web", Some("api"));
        assert_eq!(read(vec![resource(&with_section)]), Some(name));
        for resources in [
            vec![],
            vec![text("web")],
            vec![resource(&complete[1..])],
            vec![resource(&complete), resource(&complete)],
        ] {
            assert_eq!(read(resources.clone()), None, "{resources:?}");
        }
    }
}
