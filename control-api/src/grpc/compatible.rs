//! Whether a contract breaks those who compiled against another one.

use prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor, ServiceDescriptor};

/// Everything in `new` that breaks a user of `old`.
pub(super) fn breaks(old: &DescriptorPool, new: &DescriptorPool) -> Vec<String> {
    let mut found = Vec::new();
    for service in old.services() {
        match new.get_service_by_name(service.full_name()) {
            Some(now) => service_breaks(&service, &now, &mut found),
            None => found.push(format!("service {} is gone", service.full_name())),
        }
    }
    for message in old.all_messages() {
        match new.get_message_by_name(message.full_name()) {
            Some(now) => message_breaks(&message, &now, &mut found),
            None => found.push(format!("message {} is gone", message.full_name())),
        }
    }
    found
}

fn service_breaks(old: &ServiceDescriptor, new: &ServiceDescriptor, found: &mut Vec<String>) {
    for method in old.methods() {
        let name = method.full_name();
        let Some(now) = new.methods().find(|one| one.name() == method.name()) else {
            found.push(format!("call {name} is gone"));
            continue;
        };
        let signature = |one: &prost_reflect::MethodDescriptor| {
            let (input, output) = (one.input(), one.output());
            let streams = (one.is_client_streaming(), one.is_server_streaming());
            (input.full_name().to_owned(), output.full_name().to_owned(), streams)
        };
        if signature(&method) != signature(&now) {
            found.push(format!("call {name} takes or answers something else"));
        }
    }
}

fn message_breaks(old: &MessageDescriptor, new: &MessageDescriptor, found: &mut Vec<String>) {
    for field in old.fields() {
        let name = field.full_name();
        match new.get_field(field.number()) {
            Some(now) if kind(&now) != kind(&field) || now.name() != field.name() => {
                let (was, is) = (kind(&field), kind(&now));
                found.push(format!("field {name} was {was}, and is {} {is}", now.name()));
            }
            Some(_) => {}
            None => {
                let kept = |range: std::ops::Range<u32>| range.contains(&field.number());
                let reserved = new.reserved_ranges().any(kept);
                let fate = if reserved { "is gone" } else { "is gone, and its number is free" };
                found.push(format!("field {name} {fate}"));
            }
        }
    }
    for range in old.reserved_ranges() {
        for number in range {
            if new.get_field(number).is_some() {
                found.push(format!("number {number} of {} is used again", new.full_name()));
            }
        }
    }
}

fn kind(field: &FieldDescriptor) -> String {
    let presence = field.supports_presence();
    format!("{:?} {:?} presence {presence}", field.cardinality(), field.kind())
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::breaks;

    const OLD: &str = "syntax = \"proto3\"; package p;
        message A { optional string a = 1; repeated B b = 2; reserved 7; }
        message B { map<string, int64> m = 1; }
        service S { rpc Get(A) returns (B); rpc Watch(A) returns (stream B); }";

    fn pool(text: &str) -> DescriptorPool {
        let file = protox_parse::parse("p.proto", text).expect("protobuf");
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_proto(file).expect("a whole contract");
        pool
    }

    #[test]
    fn what_is_added_breaks_nobody() {
        let new = OLD
            .replace("reserved 7;", "reserved 7; optional bool c = 8;")
            .replace("rpc Get", "rpc Put(B) returns (A); rpc Get")
            .replace("message B", "message C {} message B");
        assert_eq!(breaks(&pool(OLD), &pool(&new)), Vec::<String>::new());
    }

    #[test]
    fn every_planted_break_is_found() {
        let planted = [
            ("optional string a = 1", "optional string a = 9"),
            ("optional string a = 1", "optional bytes a = 1"),
            ("optional string a = 1", "string a = 1"),
            ("optional string a = 1", "optional string z = 1"),
            ("optional string a = 1;", "reserved 1;"),
            ("repeated B b", "B b"),
            ("reserved 7", "optional bool c = 7"),
            ("map<string, int64>", "map<string, string>"),
            ("rpc Get(A) returns (B);", ""),
            ("rpc Get(A)", "rpc Get(B)"),
            ("returns (stream B)", "returns (B)"),
            ("service S", "service T"),
        ];
        for (old, new) in planted {
            let text = OLD.replace(old, new);
            assert_ne!(text, OLD);
            let found = breaks(&pool(OLD), &pool(&text));
            assert!(!found.is_empty(), "{old} -> {new} was not found");
        }
    }
}
