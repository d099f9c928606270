# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: throw-away Debian hosts with systemd, as bad as real ones, in podman containers."""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import contextlib
import ctypes
import datetime
import fcntl
import hashlib
import io
import json
import os
import pathlib
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import time

HERE = pathlib.Path(__file__).resolve().parent
STATE = HERE.parents[1] / ".cache" / "lab"
RECIPES = HERE / "image"
IMAGE = "localhost/rampart-lab"
# tag: (recipe, the Debian release or the tag it starts from)
IMAGES = {
    "bookworm": ("base", None),
    "trixie": ("base", None),
    "web": ("web", "bookworm"),
    "db": ("db", "trixie"),
    "jump": ("jump", "bookworm"),
}
# Another checkout on the same machine takes another number, for hosts, networks and addresses of its own.
NUMBER = int(os.environ.get("LAB_NUMBER", "0"))
PREFIX = "rampart-lab" + (str(NUMBER) if NUMBER else "")
LABEL = "rampart.lab"
NETWORK = PREFIX  # where single hosts live, with a way out so that packages can be installed
V4 = f"10.{87 + NUMBER + (NUMBER > 0)}"  # 10.88 is the network that podman has by itself
V6 = f"fd87:0:{NUMBER:x}"
# The fleet. A switch in a network namespace of its own carries the zones; the controller has a leg in `management` and
# none in the others, which are routed between each other (the site's router, .1) and to nowhere else.
SWITCH = f"{PREFIX}-switch"
CONTROLLER = f"rlab{NUMBER}"
ZONES = {"management": 1, "production": 2, "test": 3}
FLEET = {  # name: (image, last part of its addresses, its networks)
    "jump1": ("jump", 10, ("management", "production", "test")),
    "web1": ("web", 20, ("production",)),
    "db1": ("db", 30, ("production",)),
    "test1": ("bookworm", 40, ("test",)),
}
ROOT_LOGIN = "rampart-lab"  # root's password in the images (image/base.sh)
PEOPLE = ("root", "automation", "alice", "bob", "test")
ENROLLED = ("alice",)  # on single hosts; bob has not come to it yet
HOST_KEYS = (("rsa", "2048"), ("ecdsa", "256"), ("ed25519", None))
# podman's own limits cannot be set on a machine without CAP_SYS_RESOURCE.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
INOTIFY_INSTANCES = 1024
# What sshd, sudo and PAM (audit records), ping and a firewall need beyond podman's defaults.
CAPABILITIES = ("AUDIT_WRITE", "NET_ADMIN", "NET_RAW")


class LabError(Exception):
    """Something the person running the lab has to know."""


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run(*argv, stdin=None, check=True):
    """Run a command, return its standard output; a failure shows what it said."""
    done = subprocess.run([str(arg) for arg in argv], input=stdin, capture_output=True, check=False)
    if check and done.returncode:
        raise LabError(f"{shlex.join(str(arg) for arg in argv)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace").strip()


def podman(*argv, **options):
    return run("podman", *argv, **options)


@contextlib.contextmanager
def locked(name):
    """Several people share the images, the keys and the network; one makes them, the others wait."""
    STATE.mkdir(parents=True, exist_ok=True)
    with open(STATE / f"{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def inside(namespace):
    """This thread's sockets belong to another network namespace for a while."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as here, open(f"/run/netns/{namespace}", "rb") as there:
        if libc.setns(there.fileno(), 0):
            raise LabError(f"{namespace}: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            libc.setns(here.fileno(), 0)


def in_parallel(function, items):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(function, items))


def use_containers_conf():
    """systemd containers need runc, and addresses of both families netavark: say so where they are not the default."""
    if os.geteuid():
        raise LabError("the lab needs root: namespaces and containers with systemd are made with it")
    missing = [tool for tool in ("podman", "runc", "ip", "ssh-keygen") if not shutil.which(tool)]
    if missing:
        raise LabError(f"missing: {', '.join(missing)}; the packages are listed in {HERE / 'packages.txt'}")
    found = podman("info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.NetworkBackend}}")
    if found != "runc netavark":
        STATE.mkdir(parents=True, exist_ok=True)
        conf = STATE / "containers.conf"
        conf.write_text('[engine]\nruntime = "runc"\n[network]\nnetwork_backend = "netavark"\n', encoding="utf-8")
        os.environ["CONTAINERS_CONF"] = str(conf)


# --- images ---------------------------------------------------------------------------------------------------------


def apt_settings():
    """What apt on this machine was told about proxies, certificates and mirrors, for apt inside the hosts."""
    kept = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    lines = [line for line in run("apt-config", "dump", "Acquire").splitlines() if line.startswith(kept)]
    for scheme in ("http", "https"):
        proxy = os.environ.get(f"{scheme}_proxy")
        if proxy and not any(line.startswith(f"Acquire::{scheme}::Proxy") for line in lines):
            lines.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return "\n".join(lines) + "\n"


def apt_sources(suite):
    """This machine's Debian mirrors, for another Debian release; empty means mmdebstrap's own."""
    codename = run("sh", "-c", '. /etc/os-release && echo "$VERSION_CODENAME"')
    found = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages")
    lines = []
    for uri, release in sorted({tuple(line.split(" ", 1)) for line in found.splitlines()}):
        if uri.startswith("http") and release in (codename, f"{codename}-updates", f"{codename}-security"):
            lines.append(f"deb {uri} {release.replace(codename, suite, 1)} main\n")
    return "".join(lines)


def recipe_hash(tag):
    """Changes when anything that goes into the image does, and only then."""
    recipe, start = IMAGES[tag]
    parts = [tag, (RECIPES / f"{recipe}.sh").read_text(encoding="utf-8")]
    parts.append(recipe_hash(start) if start else (RECIPES / "packages.txt").read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def image_of(tag):
    """The recipe is part of the name, so that checkouts with other recipes do not take each other's images away."""
    return f"{IMAGE}:{tag}-{recipe_hash(tag)}"


def built(tag):
    return subprocess.run(["podman", "image", "exists", image_of(tag)], check=False).returncode == 0


def build(tag):
    started = time.monotonic()
    recipe, start = IMAGES[tag]
    say(f"image {tag}: building")
    (derive if start else bootstrap)(tag, recipe)
    say(f"image {tag}: built in {time.monotonic() - started:.0f} s")


def bootstrap(tag, recipe):
    settings = STATE / f"{tag}.apt.conf"
    settings.write_text(apt_settings(), encoding="utf-8")
    tarball = STATE / f"{tag}.tar"
    packages = ",".join((RECIPES / "packages.txt").read_text(encoding="utf-8").split())
    script = shlex.quote(str(RECIPES / f"{recipe}.sh"))
    sources = apt_sources(tag)
    try:
        run("nice", "mmdebstrap", "--variant=minbase", f"--include={packages}", f"--aptopt={settings}",
            f'--customize-hook=chroot "$1" sh -eu <{script}', tag, tarball, *(["-"] if sources else []),
            stdin=sources.encode())
        podman("import", "--quiet", "--change", 'CMD ["/sbin/init"]', "--change", "STOPSIGNAL SIGRTMIN+3",
               tarball, image_of(tag))
    finally:
        tarball.unlink(missing_ok=True)


def derive(tag, recipe):
    start = IMAGES[tag][1]
    name = f"{PREFIX}-build-{tag}"
    podman("rm", "--force", "--ignore", name)
    try:
        podman("run", "--interactive", "--name", name, "--network", "host", "--systemd=false", *LIMITS,
               image_of(start), "nice", "sh", "-eu", "-s", stdin=(RECIPES / f"{recipe}.sh").read_bytes())
        podman("commit", "--quiet", "--change", 'CMD ["/sbin/init"]', name, image_of(tag))
    finally:
        podman("rm", "--force", "--ignore", name)


def ensure_images(tags):
    with locked("images"):
        for derived in (False, True):  # what others start from comes first
            wanted = {start if start and not derived else tag for tag in tags for start in [IMAGES[tag][1]]}
            in_parallel(build, sorted(tag for tag in wanted if bool(IMAGES[tag][1]) == derived and not built(tag)))


# --- keys and files of a host ---------------------------------------------------------------------------------------


def make_key(path, kind, bits, comment):
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        run("ssh-keygen", "-q", "-t", kind, *(["-b", bits] if bits else []), "-N", "", "-C", comment, "-f", path)
    return path.with_suffix(".pub").read_text(encoding="utf-8").strip()


def people_keys():
    """One key pair for each account the lab knows: {name: public key}; the private ones lie beside them."""
    with locked("keys"):
        return {name: make_key(STATE / "keys" / name, "ed25519", None, f"{name}@lab") for name in PEOPLE}


def totp_secrets():
    """What the enrolled show codes of, as hardening_totp_secrets has it."""
    path = STATE / "keys" / "totp.json"
    with locked("keys"):
        if not path.exists():
            path.touch(0o600)
            made = {name: {"secret": base64.b32encode(secrets.token_bytes(20)).decode()} for name in ENROLLED}
            path.write_text(json.dumps(made), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def host_files(state, keys):
    """What a host is given before its first boot: its own host keys, other people's login keys, the way to packages."""
    files = {"/etc/apt/apt.conf.d/99controller": (apt_settings().encode(), 0, 0o644)}
    for kind, bits in HOST_KEYS:
        path = state / "ssh" / f"ssh_host_{kind}_key"
        public = make_key(path, kind, bits, "lab")
        files[f"/etc/ssh/{path.name}"] = (path.read_bytes(), 0, 0o600)
        files[f"/etc/ssh/{path.name}.pub"] = (f"{public}\n".encode(), 0, 0o644)
    for home, name, uid in (("/root", "root", 0), ("/home/test", "test", 1000)):
        files[f"{home}/.ssh"] = (None, uid, 0o700)
        files[f"{home}/.ssh/authorized_keys"] = (f"{keys[name]}\n".encode(), uid, 0o600)
    return files


def tarball(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, (content, uid, mode) in files.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.uid = member.gid = uid
            member.mode, member.mtime = mode, int(time.time())
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


def known_hosts(state, names):
    return "".join(
        f"{','.join(names)} {' '.join(public.read_text(encoding='utf-8').split()[:2])}\n"
        for public in sorted((state / "ssh").glob("*.pub"))
    )


# --- hosts ----------------------------------------------------------------------------------------------------------


def container(name):
    return f"{PREFIX}-{name}"


def containers():
    """Every host of this lab, running or not: {name: podman's record}."""
    records = json.loads(podman("ps", "--all", "--format", "json", "--filter", f"label={LABEL}={PREFIX}") or "[]")
    return {record["Names"][0].removeprefix(f"{PREFIX}-"): record for record in records}


def allow_many_hosts():
    """Each systemd watches a handful of directories; the kernel's default is used up by some twenty hosts."""
    limit = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")
    if int(limit.read_text(encoding="ascii")) < INOTIFY_INSTANCES:
        with contextlib.suppress(OSError):  # a container may not; a few hosts work all the same
            limit.write_text(str(INOTIFY_INSTANCES), encoding="ascii")


def create(name, image, state, network, keys, extra=()):
    allow_many_hosts()
    podman("create", "--name", container(name), "--hostname", name, "--label", f"{LABEL}={PREFIX}",
           "--systemd=always", *LIMITS,
           # as systemd sets it where it may: with the kernel's 10 journald loses messages on a busy machine
           "--sysctl", "net.unix.max_dgram_qlen=512",
           *(arg for capability in CAPABILITIES for arg in ("--cap-add", capability)),
           "--network", network, *extra, image_of(image))
    podman("cp", "--archive=false", "-", f"{container(name)}:/", stdin=tarball(host_files(state, keys)))


def wait_for_ssh(name, address, seconds=90):
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection((address, 22), timeout=2) as connection:
            if connection.recv(4) == b"SSH-":
                return
        if time.monotonic() > deadline:
            raise LabError(f"{name}: sshd at {address} does not answer after {seconds} s")
        time.sleep(0.1)


def wait_inside(name):
    """For a member of the fleet, whose firewall may let nobody in from here."""
    with inside(container(name)):
        wait_for_ssh(name, "127.0.0.1")


def ensure_network():
    with locked("network"):
        if subprocess.run(["podman", "network", "exists", NETWORK], check=False).returncode:
            podman("network", "create", "--label", f"{LABEL}={PREFIX}", "--disable-dns", "--ipv6",
                   "--subnet", f"{V4}.0.0/24", "--subnet", f"{V6}::/64", NETWORK)


def addresses(name):
    networks = json.loads(podman("inspect", container(name)))[0]["NetworkSettings"]["Networks"]
    first = next(iter(networks.values()))
    return [address for address in (first["IPAddress"], first["GlobalIPv6Address"]) if address]


def write_host(name, state, keys, found, controllers=(f"{V4}.0.1", f"{V6}::1")):
    """A small inventory, so that any playbook can be tried on one host."""
    (state / "known_hosts").write_text(known_hosts(state, [name, *found]), encoding="utf-8")
    variables = {
        "ansible_host": found[0],
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(STATE / "keys" / "root"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={state / 'known_hosts'} -o StrictHostKeyChecking=yes",
        "ansible_python_interpreter": "/usr/bin/python3",
        "hardening_addresses": found,
    }
    policy = {
        "hardening_bootstrap_user": "root",
        "hardening_bootstrap_password": ROOT_LOGIN,
        "hardening_bootstrap_private_key_file": str(STATE / "keys" / "root"),
        "hardening_controllers": [f"{controllers[0]}/32", f"{controllers[1]}/128"],
        "hardening_automation": {"name": "automation", "ssh_keys": [keys["automation"]]},
        "hardening_admins": [{"name": person, "ssh_keys": [keys[person]]} for person in ("alice", "bob")],
        "hardening_flows": [{"from": "controllers", "to": "all", "port": 22}],
        "hardening_services": [{"program": "leftover", "reason": "the lab's own"}],
        "cloud_remove": True,
        "hardening_totp_secrets": totp_secrets(),
        "hardening_mfa_grace_until": in_two_months(),
    }
    inventory = {"all": {"vars": policy, "children": {"jump": {"hosts": {name: variables}}}}}
    write_json(state / "inventory.yml", inventory)


def host_up(options):
    ensure_images([options.image])
    state = STATE / "hosts" / options.name
    if options.name in FLEET:
        raise LabError(f"{options.name} is a name of the fleet")
    if options.name in containers():
        raise LabError(f"{options.name} is there already; take it away with: host down {options.name}")
    shutil.rmtree(state, ignore_errors=True)
    keys = people_keys()
    network = options.network or NETWORK
    if network == NETWORK:
        ensure_network()
    extra = [arg for capability in options.cap for arg in ("--cap-add", capability)] + options.podman
    create(options.name, options.image, state, network, keys, extra)
    podman("start", container(options.name))
    found = addresses(options.name)
    write_host(options.name, state, keys, found)
    wait_for_ssh(options.name, found[0])
    say(f"{options.name}: {' '.join(found)}, inventory {state / 'inventory.yml'}, key {STATE / 'keys' / 'root'}")
    print(found[0])


def host_down(options):
    for name in options.names:
        remove(name)
        shutil.rmtree(STATE / "hosts" / name, ignore_errors=True)


def remove(name):
    podman("rm", "--force", "--ignore", "--time", "0", container(name))


def host_restart(options):
    """As a reboot does, and with --kill as a power cut: processes, /run and everything in the kernel's network go."""
    name = options.name
    podman(*(["kill"] if options.kill else ["stop", "--time", "10"]), container(name))
    # Else a start that comes too soon may find the network of before, its cable still pulled
    podman("wait", container(name))
    podman("container", "cleanup", container(name))
    if name in FLEET:
        unwire(name)
        wire(name)
    podman("start", container(name))
    if name in FLEET:
        wait_inside(name)
    else:
        found = addresses(name)
        write_host(name, STATE / "hosts" / name, people_keys(), found)
        wait_for_ssh(name, found[0])


def host_link(options):
    """Pull or plug every network cable of a host, at the far end: the host keeps its addresses and sees no carrier."""
    pid = podman("inspect", "--format", "{{.State.Pid}}", container(options.name))
    far = ["ip", "-n", SWITCH] if options.name in FLEET else ["ip"]
    links = {link["ifindex"]: link["ifname"] for link in json.loads(run(*far, "-json", "link", "show"))}
    for link in json.loads(run("nsenter", "--target", pid, "--net", "ip", "-json", "link", "show", "type", "veth")):
        run(*far, "link", "set", "dev", links[link["link_index"]], options.state)


# --- fleet ----------------------------------------------------------------------------------------------------------


def zone_address(zone, number):
    return f"{V4}.{ZONES[zone]}.{number}", f"{V6}:{ZONES[zone]}::{number}"


def fleet_addresses(name):
    _image, number, zones = FLEET[name]
    return [address for zone in zones for address in zone_address(zone, number)]


def ip_batch(lines, namespace=None):
    run("ip", *(["-n", namespace] if namespace else []), "-batch", "-", stdin="\n".join(lines).encode())


def address_lines(v4, v6, device):
    return [f"address add {v4}/24 dev {device}", f"address add {v6}/64 dev {device} nodad", f"link set {device} up"]


def wire_switch():
    run("ip", "link", "delete", CONTROLLER, check=False)
    run("ip", "netns", "add", SWITCH)
    lines = ["link set lo up"]
    for zone in ZONES:
        lines += [f"link add {zone} type bridge", f"link set {zone} up"]
        if zone != "management":
            lines += address_lines(*zone_address(zone, 1), zone)
    lines += [f"link add controller type veth peer name {CONTROLLER}", "link set controller master management up"]
    lines += [f"link set {CONTROLLER} netns 1"]
    ip_batch(lines, SWITCH)
    run("ip", "netns", "exec", SWITCH, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    # Without a route of their own, connects to the hidden zones would leave by this machine's default route.
    ip_batch(address_lines(*zone_address("management", 1), CONTROLLER)
             + [f"route replace unreachable {prefix}" for prefix in hidden_prefixes()])


def hidden_prefixes():
    hidden = [number for zone, number in ZONES.items() if zone != "management"]
    return [f"{V4}.{number}.0/24" for number in hidden] + [f"{V6}:{number}::/64" for number in hidden]


def port_of(name, zone):
    """The switch's end of a host's cable."""
    return f"{name}-{zone[:4]}"


def wire(name):
    _image, number, zones = FLEET[name]
    namespace = container(name)
    run("ip", "netns", "add", namespace)
    switch, host = [], ["link set lo up"]
    for index, zone in enumerate(zones):
        far = port_of(name, zone)
        # One for ever, so that neighbours find a host again after its restart.
        mac = f"02:52:{NUMBER:02x}:{ZONES[zone]:02x}:00:{number:02x}"
        switch.append(f"link add {far} type veth peer name eth{index} address {mac} netns {namespace}")
        switch.append(f"link set {far} master {zone} up")
        host += address_lines(*zone_address(zone, number), f"eth{index}")
    if len(zones) == 1:
        host += [f"route add default via {router}" for router in zone_address(zones[0], 1)]
    ip_batch(switch, SWITCH)
    ip_batch(host, namespace)


def unwire(name):
    for zone in FLEET[name][2]:  # a namespace takes its links along only some time later
        run("ip", "-n", SWITCH, "link", "delete", port_of(name, zone), check=False)
    run("ip", "netns", "delete", container(name), check=False)


def fleet_up(options):
    started = time.monotonic()
    ensure_images(sorted({image for image, _number, _zones in FLEET.values()}))
    with locked("fleet"):
        there = {name: record for name, record in containers().items() if name in FLEET}
        number = STATE / "fleet" / "number"
        mine = not number.exists() or number.read_text(encoding="utf-8") == str(NUMBER)
        if not options.fresh and (not mine or (there and not (STATE / "fleet").exists())):
            raise LabError("there is a fleet of another checkout, or of another LAB_NUMBER: take that down first, with "
                           "lab.py down, make it anew with --fresh, or give every checkout a LAB_NUMBER of its own")
        if options.fresh:
            take_fleet_down()
            there = {}
        running = {name for name, record in there.items() if record["State"] == "running"}
        if not pathlib.Path(f"/run/netns/{SWITCH}").exists():  # this machine has been restarted
            in_parallel(lambda name: podman("stop", "--time", "10", container(name)), running)
            running = set()
            wire_switch()
        keys = people_keys()
        in_parallel(lambda name: start_member(name, name in there, keys), sorted(set(FLEET) - running))
        write_fleet(keys)
    say(f"fleet: up in {time.monotonic() - started:.0f} s, inventory {STATE / 'fleet' / 'inventory'}")


def start_member(name, there, keys):
    unwire(name)
    wire(name)
    if not there:
        create(name, FLEET[name][0], STATE / "fleet" / "hosts" / name, f"ns:/run/netns/{container(name)}", keys,
               ("--dns", "none", "--add-host", f"{name}:127.0.1.1"))
    podman("start", container(name))
    wait_inside(name)
    booted = podman("exec", container(name), "systemctl", "is-system-running", "--wait", check=False)
    say(f"{name}: {' '.join(fleet_addresses(name))} {booted}")


def write_fleet(keys):
    """The user's inventory from tests/lab/inventory, and beside it what only this lab knows: addresses and keys."""
    (STATE / "fleet" / "number").write_text(str(NUMBER), encoding="utf-8")
    password = STATE / "fleet" / "vault-password"  # of what mfa_enrol makes for this fleet
    if not password.exists():
        password.touch(0o600)
        password.write_text(secrets.token_urlsafe(), encoding="utf-8")
    inventory = STATE / "fleet" / "inventory"
    shutil.copytree(HERE / "inventory", inventory, dirs_exist_ok=True)
    write_json(inventory / "group_vars" / "all" / "lab.yml", {
        "lab_keys": keys,
        "lab_key_directory": str(STATE / "keys"),
        "lab_ssh_config": str(STATE / "fleet" / "ssh_config"),
        "lab_controllers": list(zone_address("management", 1)),
        "lab_in_two_months": in_two_months(),
    })
    hosts, known = [], []
    for name in FLEET:
        found = fleet_addresses(name)
        write_json(inventory / "host_vars" / name / "lab.yml", {"ansible_host": found[0], "hardening_addresses": found})
        hosts.append(f"Host {name} {' '.join(found)}\n    HostName {found[0]}\n")
        if "management" not in FLEET[name][2]:
            hosts[-1] += "    ProxyJump jump1\n"
        known.append(known_hosts(STATE / "fleet" / "hosts" / name, [name, *found]))
    sockets = pathlib.Path("/run") / PREFIX
    sockets.mkdir(mode=0o700, exist_ok=True)
    (STATE / "fleet" / "known_hosts").write_text("".join(known), encoding="utf-8")
    template = (HERE / "ssh_config").read_text(encoding="utf-8")
    for word, value in (("KEYS", STATE / "keys"), ("FLEET", STATE / "fleet"), ("SOCKETS", sockets)):
        template = template.replace(f"@{word}@", str(value))
    (STATE / "fleet" / "ssh_config").write_text("\n".join([template, *hosts]), encoding="utf-8")


def in_two_months():
    return str(datetime.date.today() + datetime.timedelta(days=60))


def write_json(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def take_fleet_down():
    in_parallel(remove, FLEET)
    for name in FLEET:
        unwire(name)
    run("ip", "link", "delete", CONTROLLER, check=False)
    run("ip", "netns", "delete", SWITCH, check=False)
    for prefix in hidden_prefixes():
        run("ip", "route", "delete", "unreachable", prefix, check=False)
    shutil.rmtree(STATE / "fleet", ignore_errors=True)


def down(options):
    with locked("fleet"):
        take_fleet_down()
    if options.all:
        in_parallel(remove, containers())
        podman("network", "rm", "--force", NETWORK, check=False)
        for tag in reversed(IMAGES):
            podman("rmi", image_of(tag), check=False)  # stays where another lab's hosts use it
        shutil.rmtree(STATE, ignore_errors=True)


def status(_options):
    for tag in IMAGES:
        print(f"image {tag:10} {'built' if built(tag) else 'to be built'}")
    for name, record in sorted(containers().items()):
        print(f"host  {name:10} {record['State']}, {record['Image'].removeprefix(IMAGE + ':').rpartition('-')[0]}")


def execute(options):
    terminal = ["--tty"] if sys.stdin.isatty() else []
    command = options.command or ["bash"]
    argv = ["podman", "exec", "--interactive", *terminal, container(options.name), *command]
    sys.exit(subprocess.run(argv, check=False).returncode)


def parse(argv):
    parser = argparse.ArgumentParser(prog="lab.py", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("build", help="make the images, where their recipe changed")
    command.add_argument("tags", nargs="*", choices=[[], *IMAGES], metavar="IMAGE", help=f"of {', '.join(IMAGES)}")
    command.set_defaults(function=lambda options: ensure_images(options.tags or list(IMAGES)))

    command = commands.add_parser("up", help="start the fleet; a running one is left as it is")
    command.add_argument("--fresh", action="store_true", help="make it anew, in its bad state")
    command.set_defaults(function=fleet_up)

    command = commands.add_parser("down", help="take the fleet away")
    command.add_argument("--all", action="store_true", help="single hosts, images, keys and caches too")
    command.set_defaults(function=down)

    command = commands.add_parser("status", help="images and hosts")
    command.set_defaults(function=status)

    host = commands.add_parser("host", help="single throw-away hosts").add_subparsers(required=True, metavar="COMMAND")
    command = host.add_parser("up", help="start a host in its bad state and print its address")
    command.add_argument("name")
    command.add_argument("--image", default="bookworm", choices=IMAGES)
    command.add_argument("--cap", action="append", default=[], metavar="CAPABILITY", help="one more capability")
    command.add_argument("--network", help="a podman network other than the lab's own")
    command.add_argument("podman", nargs="*", metavar="-- ARG", help="further arguments for podman create")
    command.set_defaults(function=host_up)
    command = host.add_parser("down", help="take hosts away")
    command.add_argument("names", nargs="+", metavar="name")
    command.set_defaults(function=host_down)

    command = host.add_parser("restart", help="reboot a host")
    command.add_argument("name")
    command.add_argument("--kill", action="store_true", help="as a power cut does")
    command.set_defaults(function=host_restart)
    for word, state, text in (("cut", "down", "pull a host's network cables"), ("mend", "up", "plug them in again")):
        command = host.add_parser(word, help=text)
        command.add_argument("name")
        command.set_defaults(function=host_link, state=state)

    command = commands.add_parser("exec", help="run a command in a host")
    command.add_argument("name")
    command.add_argument("command", nargs=argparse.REMAINDER)
    command.set_defaults(function=execute)
    return parser.parse_args(argv)


def main(argv=None):
    options = parse(argv)
    try:
        use_containers_conf()
        options.function(options)
    except LabError as error:
        sys.exit(f"lab: {error}")


if __name__ == "__main__":
    main()
