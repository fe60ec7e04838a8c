"""Whose frame is it, and does it pass: identity, verdict and counting.

Written from the contract's tables "Whose frame is it?" and "Verdict, in order". One `Policy` (what the operator
configured), one `Inventory` (the VMs), one `Ruling` per frame. Where the page leaves room, the comment at the
place says which reading was taken and why.
"""

import datetime
import ipaddress
import json
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from typing import FrozenSet, List, Optional

import guards
import sight as sights

LINK_LOCAL = ipaddress.ip_network("fe80::/10")
INSIDE, OUTSIDE = "inside", "outside"  # the port a frame came in by: egress and ingress
DIRECTION = {INSIDE: "egress", OUTSIDE: "ingress"}


@dataclass(frozen=True)
class Class:
    name: str
    ports: FrozenSet[int]
    monitor: bool = False
    rejects: bool = False


@dataclass(frozen=True)
class Relay:
    name: str
    prefix: object
    vm: Optional[str]
    tenant: bool
    ports: FrozenSet[int]


def port_set(items):
    ports = set()
    for item in items:
        low, _, high = str(item).partition("-")
        ports.update(range(int(low), int(high or low) + 1))
    return frozenset(ports)


class Policy:
    """The operator's configuration; every default is the contract's."""

    def __init__(self, toml_text="", at=None):
        self.now = moment(at) if at else datetime.datetime.now(datetime.timezone.utc)
        config = tomllib.loads(toml_text)
        policy = config.get("policy", {})
        rejects = policy.get("deny") == "reject"
        self.classes = {
            "restricted": Class("restricted", frozenset({25, 465, 587}), rejects=rejects),
            "unrestricted": Class("unrestricted", frozenset()),
        }
        for name, entry in config.get("class", {}).items():
            default = self.classes.get(name)
            ports = port_set(entry["ports"]) if "ports" in entry else default.ports
            own = entry["deny"] == "reject" if "deny" in entry else rejects
            self.classes[name] = Class(name, ports, entry.get("mode") == "monitor", own)
        self.unknown_class = self.classes[policy.get("unknown_class", "restricted")]
        self.monitor = policy.get("mode") == "monitor"
        self.identity = policy.get("identity", "mail")
        self.guards = policy.get("guards", guards.ALL)
        self.routers = {mac_bytes(mac) for mac in policy.get("via", [])}
        self.link_routers = set()
        self.relays = [
            Relay(entry["name"], entry.get("prefix") and ipaddress.ip_network(entry["prefix"]), entry.get("vm"),
                  entry.get("tenant", False), port_set(entry["ports"]))
            for entry in policy.get("relay", [])
        ]
        links = config.get("link", [])
        link = links[0] if links else {}
        sources = {4: link.get("reject_ipv4"), 6: link.get("reject_ipv6")}
        self.reject_from = {family: ipaddress.ip_address(text) for family, text in sources.items() if text}
        self.protect = {ipaddress.ip_address(address) for address in link.get("protect", [])}
        scopes = dict(link.get("scopes", {}))
        self.scope_of_the_rest = scopes.pop("*", 0)
        self.scopes = {int(vlan): scope for vlan, scope in scopes.items()}
        for entry in link.get("via", []):
            place = (mac_bytes(entry["mac"]), entry["vlan"]) if isinstance(entry, dict) else (mac_bytes(entry), None)
            self.link_routers.add(place)
        # "Matters to any class": rule 4 does not look the VM up for any other port.
        self.ports_that_matter = frozenset().union(*(c.ports for c in self.classes.values()))

    def scope_of(self, vlans):
        """A number, or "refuse"."""
        outermost = next((vlan for vlan in vlans if vlan), 0)
        return self.scopes.get(outermost, self.scope_of_the_rest if outermost else 0)

    def is_router(self, mac, vlans):
        outermost = next((vlan for vlan in vlans if vlan), 0)
        return mac in self.routers or not self.link_routers.isdisjoint({(mac, None), (mac, outermost)})


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


@dataclass
class VmException:
    ports: Optional[FrozenSet[int]]  # that it opens
    closed_ports: Optional[FrozenSet[int]]  # of the class in it, which alone stay closed
    peer: Optional[object]
    until: Optional[datetime.datetime]

    def opens(self, port):
        return port in self.ports if self.ports is not None else port not in self.closed_ports


def exception(entry, policy):
    assert ("ports" in entry) != ("class" in entry) and ("until" in entry) != entry.get("permanent", False), entry
    return VmException(
        port_set(entry["ports"]) if "ports" in entry else None,
        policy.classes[entry["class"]].ports if "class" in entry else None,
        ipaddress.ip_network(entry["peer"]) if "peer" in entry else None,
        moment(entry["until"]) if "until" in entry else None,
    )


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


@dataclass
class Vm:
    id: str
    klass: Class
    macs: List[bytes]
    networks: List[object]
    scope: int
    monitor: bool
    exceptions: List["VmException"] = field(default_factory=list)
    tenant: Optional[str] = None
    public: Optional[object] = None

    def lists_family(self, version):
        return any(network.version == version for network in self.networks)


class Inventory:
    """Who answers for a MAC or an address, per scope."""

    def __init__(self, jsonl_text, policy):
        self.vms, self.by_mac, self.by_network = {}, {}, {}
        for line in jsonl_text.splitlines():
            if not line.strip():
                continue
            entry = json.loads(line)
            addresses = list(entry.get("ips", []))
            public = entry.get("public_ipv4")
            if public and public not in addresses:
                addresses.append(public)
            name = entry.get("class") or ("unrestricted" if public else "restricted")
            vm = Vm(
                entry["id"], policy.classes[name], [mac_bytes(mac) for mac in entry.get("macs", [])],
                [ipaddress.ip_network(address) for address in addresses], entry.get("scope", 0),
                entry.get("mode") == "monitor", [exception(one, policy) for one in entry.get("exceptions", [])],
                entry.get("tenant"), ipaddress.ip_network(public) if public else None,
            )
            assert vm.macs or vm.networks, f"{vm.id}: at least one MAC or IP"
            assert vm.id not in self.vms, f"{vm.id} twice"
            self.vms[vm.id] = vm
            for table, keys in ((self.by_mac, vm.macs), (self.by_network, vm.networks)):
                for key in keys:
                    other = table.setdefault((vm.scope, key), vm)
                    assert other is vm, f"{vm.id}: {key} belongs to {other.id}"
        self.prefix_lengths = sorted({network.prefixlen for _, network in self.by_network}, reverse=True)

    def of_mac(self, scope, mac):
        return self.by_mac.get((scope, mac))

    def of_address(self, scope, address):
        """The longest prefix wins."""
        for bits in self.prefix_lengths:
            if bits <= address.max_prefixlen:
                vm = self.by_network.get((scope, ipaddress.ip_network((address, bits), strict=False)))
                if vm:
                    return vm
        return None


@dataclass
class Identity:
    """What the table "Whose frame is it?" answers for one frame."""

    vm: Optional[Vm]  # the one it is counted under
    own: FrozenSet[int]  # closed, and enforced, by the class and mode that the frame would have without the finding
    closed: FrozenSet[int]
    finding: str = ""  # spoof_ip, spoof_mac, missing_evidence
    monitor: bool = False
    named: tuple = ()  # the VMs that contradicting evidence names, the one that counts the frame first
    classes: tuple = ()  # those whose ports are closed

    @property
    def contradicted(self):
        return self.finding.startswith("spoof")


def enforced_ports(vm):
    """What a VM would be denied by its own class and mode."""
    return frozenset() if vm.monitor or vm.klass.monitor else vm.klass.ports


def identify(sight, incoming, policy, inventory):
    """Egress reads the source's MAC and address, ingress the destination's."""
    egress = incoming == INSIDE
    scope = policy.scope_of(sight.vlans)
    mac = sight.src_mac if egress else sight.dst_mac
    router = policy.is_router(mac, sight.vlans)
    by_mac = None if router else inventory.of_mac(scope, mac)
    restricted = policy.classes["restricted"].ports

    def plain(vm):
        klass = vm.klass if vm else policy.unknown_class
        monitor = klass.monitor or bool(vm and vm.monitor)
        return Identity(vm, klass.ports, klass.ports, monitor=monitor, classes=(klass,))

    def missing(vm):
        klass = vm.klass if vm else policy.unknown_class
        own = enforced_ports(vm) if vm else frozenset() if klass.monitor else klass.ports
        classes = (klass, policy.classes["restricted"])
        return Identity(vm, own, klass.ports | restricted, "missing_evidence", classes=classes)

    def contradiction(finding, vm, *named):
        closed = restricted.union(*(other.klass.ports for other in named))
        return Identity(vm, enforced_ports(vm), closed, finding, named=named)

    if sight.addresses is None:
        assert sight.kind == "opaque", "TCP is seen behind readable addresses only"
        return plain(by_mac) if by_mac and not by_mac.networks else missing(by_mac)

    address = ipaddress.ip_address(sight.addresses[0 if egress else 1])
    by_ip = inventory.of_address(scope, address)

    if by_mac and by_ip:
        return plain(by_mac) if by_mac is by_ip else contradiction("spoof_ip", by_mac, by_mac, by_ip)
    if by_mac:
        # A VM that lists no address at all is inventory by MAC only: no evidence is missing, link-local or not.
        if not by_mac.networks:
            return plain(by_mac)
        if address in LINK_LOCAL or not by_mac.lists_family(address.version):
            return missing(by_mac)
        return contradiction("spoof_ip", by_mac, by_mac)
    if router or by_ip is None or not by_ip.macs:
        return plain(by_ip)
    return contradiction("spoof_mac", by_ip, by_ip)


@dataclass
class Ruling:
    forward: bool
    reason: str = ""  # of a drop
    judged: bool = False
    outcome: str = ""  # of a judged frame: allowed, denied, excepted, would_deny
    vm: Optional[Vm] = None
    observed: List[str] = field(default_factory=list)
    sight: Optional[sights.Sight] = None
    rejects: bool = False  # who sent it is to be told that it was dropped, if that can be

    def as_json(self):
        vm = (self.vm.id if self.vm else "unknown") if self.judged else None
        return {"drop": self.reason or None, "vm": vm, "tally": self.outcome or None, "observed": self.observed}


def rule(frame, incoming, policy, inventory):
    """The verdict list of the contract, first match decides."""
    sight = sights.see(frame)
    ruling = decide(sight, incoming, policy, inventory)
    ruling.sight = sight
    return ruling


def decide(sight, incoming, policy, inventory):
    egress = incoming == INSIDE

    # 1. A runt is dropped, and so is what is in a refused VLAN.
    if sight.kind == "runt":
        return Ruling(False, "runt")
    if policy.scope_of(sight.vlans) == "refuse":
        return Ruling(True, observed=["would_deny"]) if policy.monitor else Ruling(False, "scope_refused")

    # 2. From inside, where everybody must be who he says he is.
    if not egress or policy.identity == "mail":
        return by_the_later_rules(sight, incoming, policy, inventory)
    reason, finding, vm = objection(sight, incoming, policy, inventory)
    if reason and policy.identity == "strict" and not policy.monitor:
        return Ruling(False, reason, True, "denied", vm)
    ruling = by_the_later_rules(sight, incoming, policy, inventory)
    if reason and ruling.forward:
        # Counted beside is what the frame is, by the later rules, and what contradicts itself.
        beside = [seen for seen in ruling.observed if seen not in ("would_deny", *FINDINGS)]
        return Ruling(True, "", True, "would_deny", vm, [*finding, *beside, "would_deny"])
    return ruling


FINDINGS = ("spoof_ip", "spoof_mac", "missing_evidence")


def objection(sight, incoming, policy, inventory):
    """The reason of rule 2, the contradiction behind it if that is the reason, and the VM that counts the frame."""
    by_guard = guards.objection(sight, policy, inventory)
    if by_guard:
        return by_guard, [], counted_for(sight, policy, inventory)
    if guards.claims_no_address(sight) and sight.kind != "tcp":
        return "", [], None
    identity = identify(sight, incoming, policy, inventory)
    return (identity.finding, [identity.finding], identity.vm) if identity.contradicted else ("", [], None)


def counted_for(sight, policy, inventory):
    """The VM that the MAC names, else the one that the source address names; of ARP the sender's."""
    scope = policy.scope_of(sight.vlans)
    vm = None if policy.is_router(sight.src_mac, sight.vlans) else inventory.of_mac(scope, sight.src_mac)
    source = sight.addresses[0] if sight.addresses else None
    if sight.what == "arp" and len(sight.message) >= 28 and sight.message[2:6] == b"\x08\x00\x06\x04":
        source = sight.message[14:18]
    return vm or (inventory.of_address(scope, ipaddress.ip_address(source)) if source else None)


def by_the_later_rules(sight, incoming, policy, inventory):
    egress = incoming == INSIDE

    # 3. Neither TCP nor opaque.
    if sight.kind == "later":
        return Ruling(True, observed=["later_fragment"])
    if sight.kind == "other":
        observed = ["udp_mail"] if sight.udp_dport in policy.ports_that_matter else []
        if sight.what in sights.TUNNELS:
            observed.append("tunnel_" + sight.what)
        return Ruling(True, observed=observed)

    # 4. Ports that matter to no class.
    if sight.kind == "tcp":
        telling = {sight.dport} if egress else {sight.dport, sight.sport}
        if not telling & policy.ports_that_matter:
            return Ruling(True)

    # 5. Identity gives the class.
    identity = identify(sight, incoming, policy, inventory)
    denial = denial_of(sight, egress, identity.closed, policy)

    # 6. A relay covers the peer and the port; on ingress it answers for rule 8 only. An exception of the VM opens what is closed.
    relayed = relay_covers(sight, egress, identity, policy, inventory)
    if relayed and (egress or denial != "port_closed"):
        return judged(identity, True, "excepted")
    if denial and exceptions_open(sight, egress, identity, relayed, policy):
        return judged(identity, True, "excepted")

    # 7. and 8. are one question here: what would deny this frame?
    if denial and policy.monitor:
        return judged(identity, True, "would_deny")
    if denial and identity.monitor and not identity.finding:
        return judged(identity, True, "would_deny")
    if denial:
        ruling = judged(identity, False, "denied", named(denial, sight, egress, identity, policy))
        closing = [klass for klass in identity.classes if sight.dport in klass.ports]
        ruling.rejects = egress and not identity.contradicted and all(klass.rejects for klass in closing)
        return ruling

    # 9.
    return judged(identity, True, "allowed")


def denial_of(sight, egress, closed, policy):
    """Rules 7 and 8 for one set of closed ports; empty when nothing denies."""
    if sight.kind == "opaque":
        return "opaque_" + sight.reason if closed else ""
    if sight.dport in closed:
        return "port_closed"
    if not egress and sight.sport in closed:
        return "reply_closed"
    return ""


def named(denial, sight, egress, identity, policy):
    """The table of findings that name a denied frame."""
    if not identity.finding:
        return denial
    if identity.contradicted and egress:
        return identity.finding
    if any(not denial_of(sight, egress, enforced_ports(vm), policy) for vm in identity.named):
        return identity.finding
    return denial_of(sight, egress, identity.own, policy) or identity.finding


def relay_covers(sight, egress, identity, policy, inventory):
    if sight.kind != "tcp" or identity.contradicted or sight.steered:
        return False
    peer = ipaddress.ip_address(sight.addresses[1 if egress else 0])
    port = sight.dport if egress else sight.sport
    scope = policy.scope_of(sight.vlans)
    return any(
        port in relay.ports and is_at(relay, peer, scope, inventory) and serves(relay, identity.vm, inventory)
        for relay in policy.relays
    )


def is_at(relay, peer, scope, inventory):
    """A VM's addresses count in its own scope; its public one everywhere."""
    if relay.prefix is not None:
        return peer in relay.prefix
    vm = inventory.vms.get(relay.vm)
    if vm is None:
        return False
    return (vm.public is not None and peer in vm.public) or (
        vm.scope == scope and any(peer in network for network in vm.networks)
    )


def serves(relay, vm, inventory):
    if not relay.tenant:
        return True
    own = inventory.vms.get(relay.vm)
    return vm is not None and own is not None and own.tenant is not None and vm.tenant == own.tenant


def exceptions_open(sight, egress, identity, relayed, policy):
    """Whether exceptions of the VM open all that is closed; on ingress a relay's answer needs none for its source port."""
    if identity.vm is None or identity.finding:
        return False
    valid = [one for one in identity.vm.exceptions if one.until is None or policy.now < one.until]
    if sight.kind == "opaque":
        return any(one.peer is None and one.closed_ports == frozenset() for one in valid)
    if sight.steered:
        return False
    peer = ipaddress.ip_address(sight.addresses[1 if egress else 0])
    mine = [one for one in valid if one.peer is None or peer in one.peer]
    telling = [sight.dport] if egress else [sight.dport] + ([] if relayed else [sight.sport])
    opened = lambda port: any(one.opens(port) for one in mine)  # noqa: E731
    return all(opened(port) for port in telling if port in identity.closed)


def judged(identity, forward, outcome, reason=""):
    observed = []
    if forward:
        observed += [identity.finding] if identity.finding else []
        observed += [outcome] if outcome in ("excepted", "would_deny") else []
    return Ruling(forward, reason, True, outcome, identity.vm, observed)


OUTCOMES = ("allowed", "denied", "excepted", "would_deny")


class Ledger:
    """The counters that the box should show after the same frames."""

    def __init__(self, inventory):
        self.rx, self.forwarded = Counter(), {INSIDE: [], OUTSIDE: []}
        self.drops = {INSIDE: Counter(), OUTSIDE: Counter()}
        self.observed = {INSIDE: Counter(), OUTSIDE: Counter()}
        blank = lambda: {d: dict.fromkeys(OUTCOMES, 0) for d in DIRECTION.values()}  # noqa: E731
        self.vms = {vm_id: blank() for vm_id in inventory.vms}
        self.unknown = blank()

    def add(self, number, incoming, ruling):
        self.rx[incoming] += 1
        if ruling.forward:
            self.forwarded[incoming].append(number)
        else:
            self.drops[incoming][ruling.reason] += 1
        self.observed[incoming].update(ruling.observed)
        if ruling.judged:
            counts = self.vms[ruling.vm.id] if ruling.vm else self.unknown
            counts[DIRECTION[incoming]][ruling.outcome] += 1

    def as_json(self):
        report = {}
        for port in (INSIDE, OUTSIDE):
            drops = self.drops[port]
            assert self.rx[port] == len(self.forwarded[port]) + sum(drops.values()), "the balance"
            report[port] = {
                "rx": self.rx[port], "forward": self.forwarded[port], "drops": dict(sorted(drops.items())),
                "observed": dict(sorted(self.observed[port].items())),
            }
        report["vms"] = self.vms
        report["unknown"] = self.unknown
        report["observed"] = dict(sorted((self.observed[INSIDE] + self.observed[OUTSIDE]).items()))
        return report
