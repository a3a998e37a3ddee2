#!/usr/bin/env python3
"""What the program is made of, from `cargo metadata` and the sources of the packages; the same Cargo.lock gives the same bytes.

    supply.py sbom               a software bill of materials, CycloneDX 1.5 as JSON: what is in the program (scope `required`) and
                                 what only helps to build it (`excluded`)
    supply.py notices            what the authors of the packages in the program want to be told with it
    supply.py notices --debian   the same as paragraphs of debian/copyright
"""

import datetime
import email.utils
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent
# Every platform that is shipped has the same packages (`few_packages_are_built` counts them for this machine).
PLATFORM = "aarch64-unknown-linux-musl"
NAMES = ("LICENSE", "LICENCE", "COPYING", "UNLICENSE")
# Linked into each program beside the packages, known to no Cargo.lock, and all under the MIT licence, with whom to name.
LIBRARIES = [
    ("rust-std", "The Rust Project Contributors"),
    ("musl", "2005-2020 Rich Felker, et al."),
    ("zig-libc", "Zig contributors"),
]


def cargo(*arguments):
    command = [os.environ.get("CARGO", "cargo"), *arguments, "--locked"]
    return subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout


def compiled():
    """Names and versions. The metadata also have packages that a feature which is not on would bring."""
    tree = cargo("tree", "--edges", "normal,build", "--prefix", "none", "--target", PLATFORM)
    return {tuple(line.split(" ")[:2]) for line in tree.splitlines() if line}


def is_macro(package):
    return any("proc-macro" in target["kind"] for target in package["targets"])


class Tree:
    """The packages that are built, in the order of their names, each with what it needs and whether it is in the program."""

    def __init__(self):
        found = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", PLATFORM))
        built = compiled()
        self.packages = {one["id"]: one for one in found["packages"] if (one["name"], "v" + one["version"]) in built}
        self.root = found["resolve"]["root"]
        self.needs = {node["id"]: self.edges(node) for node in found["resolve"]["nodes"] if node["id"] in self.packages}
        self.built = self.reach(lambda kind, package: True)
        self.shipped = self.reach(lambda kind, package: kind is None and not is_macro(package))
        self.order = sorted(self.built, key=lambda key: (self.packages[key]["name"], self.packages[key]["version"]))

    def edges(self, node):
        edges = [(dep["pkg"], kind["kind"]) for dep in node["deps"] for kind in dep["dep_kinds"]]
        return [(package, kind) for package, kind in edges if kind != "dev" and package in self.packages]

    def reach(self, follows):
        reached, open_ends = set(), [self.root]
        while open_ends:
            for package, kind in self.needs[open_ends.pop()]:
                if package not in reached and follows(kind, self.packages[package]):
                    reached.add(package)
                    open_ends.append(package)
        return reached


def expression(package):
    return (package["license"] or "NOASSERTION").replace("/", " OR ")


def released():
    """When the newest entry of the changelog was written, or SOURCE_DATE_EPOCH: seconds."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    lines = (HERE / "debian/changelog").read_text().splitlines()
    line = next(line for line in lines if line.startswith(" -- "))
    return int(email.utils.parsedate_to_datetime(line.split("  ", 1)[1]).timestamp())


def checksums():
    lock = (REPOSITORY / "Cargo.lock").read_text()
    found = re.findall(r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "([0-9a-f]{64})"', lock)
    return {(name, version): checksum for name, version, checksum in found}


def sbom():
    tree, sums = Tree(), checksums()
    url = {key: f"pkg:cargo/{package['name']}@{package['version']}" for key, package in tree.packages.items()}
    own = tree.packages[tree.root]
    lock = hashlib.sha256((REPOSITORY / "Cargo.lock").read_bytes()).hexdigest()
    components = []
    for key in tree.order:
        package = tree.packages[key]
        component = {
            "type": "library",
            "bom-ref": url[key],
            "name": package["name"],
            "version": package["version"],
            "scope": "required" if key in tree.shipped else "excluded",
            "licenses": [{"expression": expression(package)}],
            "purl": url[key],
        }
        if (package["name"], package["version"]) in sums:
            component["hashes"] = [{"alg": "SHA-256", "content": sums[package["name"], package["version"]]}]
        components.append(component)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url[tree.root] + '#' + lock)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.datetime.fromtimestamp(released(), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": url[tree.root],
                "name": own["name"],
                "version": own["version"],
                "description": own["description"],
                "licenses": [{"license": {"name": "Rusty-Pinch-Personal-Use"}}],
                "purl": url[tree.root],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": url[key], "dependsOn": sorted({url[need] for need, _ in tree.needs[key]})} for key in [tree.root, *tree.order]
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def texts(package):
    """The texts of the licence that we take the package under: the shortest of those that we may choose from."""
    folder = pathlib.Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name.upper().startswith(NAMES))
    choice = expression(package)
    if " AND " not in choice and "MIT" in choice:
        chosen = [path for path in files if "MIT" in path.name.upper()]
        files, choice = chosen or files[:1], "MIT"
    if not files and choice != "MIT":
        sys.exit(f"supply.py: {package['name']} {package['version']} brings no text of its licence {choice}")
    return choice, [path.read_text(errors="replace").strip() for path in files]


def is_apache(text):
    return "Apache License" in text and "TERMS AND CONDITIONS" in text


def copyrights(text):
    lines = [line.strip(" \t#*/") for line in text.splitlines()]
    return [line for line in lines if re.match(r"(copyright|©)\b.*(\d{4}|\(c\)|©)", line, re.IGNORECASE)]


def groups():
    """Packages with the same words, together, and what is linked beside them."""
    tree, found, without = Tree(), {}, []
    for key in (key for key in tree.order if key in tree.shipped):
        package = tree.packages[key]
        choice, words = texts(package)
        name = f"{package['name']} {package['version']}"
        if words:
            found.setdefault((choice, "\n\n".join(words)), []).append(name)
        else:
            without.append((name, ", ".join(package["authors"]) or f"the authors of {package['name']}"))
    # The words of the licence without anybody's name.
    mit = next(text for (choice, text) in found if choice == "MIT" and "Permission is hereby granted" in text)
    mit = mit[mit.index("Permission is hereby granted"):]
    for name, holder in without + LIBRARIES:
        found.setdefault(("MIT", f"Copyright (c) {holder}\n\n{mit}"), []).append(name)
    return found


def notices(debian):
    return debian_paragraphs(groups()) if debian else plain(groups())


def plain(found):
    rule = "-" * 80
    parts = ["rusty-pinch contains the work of others, which comes with these words."]
    for (choice, text), names in found.items():
        parts.append(f"{rule}\n{', '.join(names)}\n{choice}\n{rule}\n\n{text}")
    return "\n\n".join(parts) + "\n"


def debian_paragraphs(found):
    parts = []
    for number, ((choice, text), names) in enumerate(found.items(), 1):
        if is_apache(text):
            # Debian has it in a place of its own; what stands beside it in the same file stays.
            before, after = text[:text.index("Apache License")].strip(), text.rpartition("limitations under the License.")[2].strip()
            reference = "The Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0."
            text = "\n\n".join(part for part in (before, reference, after) if part)
        holders = sorted(set(copyrights(text))) or ["its authors, who name nobody"]
        holders = "\n ".join(re.sub(r"^copyright:?\s*(\(c\)|©)?\s*", "", holder, flags=re.IGNORECASE) for holder in holders)
        short = re.sub(r"[^A-Za-z0-9.+]+", "-", choice.replace(" AND ", " and ").replace(" OR ", " or "))
        files = "\n ".join("third-party/" + name.replace(" ", "-") + "/*" for name in names)
        body = "\n".join(" " + (line.rstrip() or ".") for line in text.splitlines())
        parts.append(f"Files: {files}\nCopyright: {holders}\nLicense: {short}-{number}\n{body}\n")
    return "\n".join(parts)


def main(arguments):
    match arguments:
        case ["sbom"]:
            print(sbom(), end="")
        case ["notices"]:
            print(notices(False), end="")
        case ["notices", "--debian"]:
            print(notices(True), end="")
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
