//! Rules of the kinds that are in use, each of which holds.

use kplane_machinery::field::Path;
use kplane_rules::{CelEngine, RuleEngine, check_rules};
use kplane_schema::structural;
use serde_json::json;

#[test]
fn they_hold() {
    let props = json!({"type": "object", "properties": {
        "group": {"type": "string"}, "kind": {"type": "string"}, "port": {"type": "integer"},
        "l": {"type": "array", "maxItems": 16, "items": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 64}, "weight": {"type": "integer"}, "headers": {"type":"array","maxItems":16,"items":{"type":"string","maxLength":64}}}}},
        "p": {"type": "object", "properties": {"type": {"type": "string"}, "value": {"type": "string", "maxLength": 256}}}}});
    let chain = (0..80).map(|i| format!("self.port == {}", i + 1)).collect::<Vec<_>>().join(" || ");
    for rule in [
        "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true",
        "self.l.all(l1, self.l.exists_one(l2, l1.name == l2.name && (has(l1.weight) || !has(l2.weight))))",
        "(self.p.type in ['Exact','PathPrefix']) ? !self.p.value.contains('//') : true",
        "self.p.type in ['Exact','PathPrefix'] ? self.p.value.matches(r\"\"\"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$\"\"\") : true",
        "!(self.l.exists(f, f.name == 'c') && self.l.filter(f, f.name == 'b').size() <= 1)",
        "self.l.filter(f, has(f.headers)).map(f, f.headers.size()).sum() <= 16",
        "self.l.map(f, f.name).all(n, n.lowerAscii() == n)",
        "size(self.l) > 0 ? (size(self.l[0].name) + (size(self.l) > 1 ? size(self.l[1].name) : 0)) <= 128 : true",
        "has(self.p) && self.p.type == \"Exact\" // comment",
        "self.port <= 65535 &&\n self.port >= 1",
        "self.l.size() == 0 || self.l[0].weight / 2 >= 0 && double(self.port) > 1.5",
        "string(self.port) == '80' && int('80') == self.port && self.port in [80, 443]",
        "self.port == 80 ? self.kind != '' : self.group.startsWith('x')",
        "self.l.map(i, i.name == 'a', i.weight).size() == 1",
        "{'a': 1}['a'] == 1 && {'a': self.port}.a == 80",
        "timestamp('2024-01-01T00:00:00Z').getFullYear() == 2024 && timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('24h')",
        "duration('1h').getHours() == 1 && string(duration('1m30.5s')) == '90.5s' && string(duration('-1ms')) == '-0.001s'",
        "self.l == self.l && [1,2] + [3] == [1,2,3] && b'abc' == bytes('abc')",
        "optional.of(1).hasValue() && [?optional.none()].size() == 0",
        "string(timestamp('2024-01-01T01:00:00+01:00')) == '2024-01-01T00:00:00Z'",
        "self.l[?5].hasValue() == false && self.?p.?type.orValue('') != 'x'",
        &chain,
    ] {
        let mut raw = props.clone();
        raw["x-kubernetes-validations"] = json!([{"rule": rule, "message": "m"}]);
        assert_eq!(check_rules(&raw, &Path::root()), Vec::new(), "{rule}");
        let mut schema = structural::from_json(&raw, &Path::root()).unwrap();
        structural::add_type_and_object_meta(&mut schema);
        let object = json!({"group": "", "kind": "Service", "port": 80, "p": {"type": "Exact", "value": "/a"},
            "l": [{"name": "a", "weight": 1, "headers": ["x"]}, {"name": "b"}]});
        assert_eq!(CelEngine.compile(&schema).unwrap().validate(&object, None), Vec::new(), "{rule}");
    }
}
