"""Makes the files that the origin serves to package managers: one small package, in the form of each registry.

usage: packages.py DIRECTORY BASE, where BASE is the URL under which the directory will be served
"""

import base64
import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.utils import formatdate

LINE = "Keep it logically awesome."
root, base = pathlib.Path(sys.argv[1]), sys.argv[2]


def put(path, content):
    """Writes a file below the root, text or bytes."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


def tar(files):
    """A gzipped tar file of these names and texts."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def zipped(files):
    """A zip file of these names and texts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def pypi():
    name, info = "sandgate_sample-1.0-py3-none-any.whl", "sandgate_sample-1.0.dist-info"
    wheel = zipped({
        "sandgate_sample.py": f"print({LINE!r})\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: sandgate-sample\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: sandgate\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": f"sandgate_sample.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    })
    put(f"pypi/files/{name}", wheel)
    digest = hashlib.sha256(wheel).hexdigest()
    put("pypi/sandgate-sample/index.html", f'<a href="../files/{name}#sha256={digest}">{name}</a>\n')


def npm():
    manifest = {"name": "sandgate-sample", "version": "1.0.0", "main": "index.js"}
    archive = tar({
        "package/package.json": json.dumps(manifest),
        "package/index.js": f"console.log({json.dumps(LINE)});\n",
    })
    put("npm/sandgate-sample/-/sandgate-sample-1.0.0.tgz", archive)
    dist = {
        "tarball": f"{base}/npm/sandgate-sample/-/sandgate-sample-1.0.0.tgz",
        "shasum": hashlib.sha1(archive).hexdigest(),
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode(),
    }
    # Old enough for clients that let a version age first.
    document = {
        "name": "sandgate-sample",
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": manifest | {"dist": dist}},
        "time": {"created": "2020-01-01T00:00:00.000Z", "1.0.0": "2020-01-01T00:00:00.000Z"},
    }
    put("npm/sandgate-sample/index.html", json.dumps(document))


def cargo():
    crate = tar({
        "sandgate-sample-1.0.0/Cargo.toml": '[package]\nname = "sandgate-sample"\nversion = "1.0.0"\nedition = "2021"\n',
        "sandgate-sample-1.0.0/src/lib.rs": f"//! {LINE}\n",
    })
    put("cargo/config.json", json.dumps({"dl": f"{base}/cargo/files/{{crate}}-{{version}}.crate"}))
    put("cargo/files/sandgate-sample-1.0.0.crate", crate)
    checksum = hashlib.sha256(crate).hexdigest()
    entry = {"name": "sandgate-sample", "vers": "1.0.0", "deps": [], "cksum": checksum, "features": {}, "yanked": False}
    put("cargo/sa/nd/sandgate-sample", json.dumps(entry) + "\n")


def go():
    module = "module origin.test/sample\n\ngo 1.21\n"
    prefix = "origin.test/sample@v1.0.0"
    put("goproxy/origin.test/sample/@v/list", "v1.0.0\n")
    put("goproxy/origin.test/sample/@v/v1.0.0.info", json.dumps({"Version": "v1.0.0", "Time": "2020-01-01T00:00:00Z"}))
    put("goproxy/origin.test/sample/@v/v1.0.0.mod", module)
    put(
        "goproxy/origin.test/sample/@v/v1.0.0.zip",
        zipped({f"{prefix}/go.mod": module, f"{prefix}/sample.go": f"// {LINE}\npackage sample\n"}),
    )


def maven():
    def artifact(name, packaging, extra=""):
        pom = (
            "<project><modelVersion>4.0.0</modelVersion><groupId>test.origin</groupId>"
            f"<artifactId>{name}</artifactId><version>1.0</version><packaging>{packaging}</packaging>{extra}</project>"
        )
        files = {"pom": pom.encode(), "txt": f"{LINE}\n".encode()}
        for kind, content in files.items():
            put(f"maven/test/origin/{name}/1.0/{name}-1.0.{kind}", content)
            put(f"maven/test/origin/{name}/1.0/{name}-1.0.{kind}.sha1", hashlib.sha1(content).hexdigest())

    artifact("parent", "pom", f"<description>{LINE}</description>")
    artifact("sample", "txt")


def apt():
    control = (
        "Package: sandgate-sample\nVersion: 1.0\nArchitecture: all\nMaintainer: Sandgate <test@origin.test>\n"
        f"Description: {LINE}\n"
    )
    with tempfile.TemporaryDirectory() as directory:
        tree = pathlib.Path(directory) / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(control)
        package = pathlib.Path(directory) / "sample.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, package], check=True, stdout=subprocess.DEVNULL)
        content = package.read_bytes()
    name = "sandgate-sample_1.0_all.deb"
    put(f"apt/{name}", content)
    digest = hashlib.sha256(content).hexdigest()
    packages = f"{control}Filename: {name}\nSize: {len(content)}\nSHA256: {digest}\n\n"
    listed = packages.encode()
    path = "main/binary-amd64/Packages"
    put(f"apt/dists/stable/{path}", listed)
    put(
        "apt/dists/stable/Release",
        f"Suite: stable\nCodename: stable\nArchitectures: amd64\nComponents: main\nDate: {formatdate(usegmt=True)}\n"
        f"SHA256:\n {hashlib.sha256(listed).hexdigest()} {len(listed)} {path}\n",
    )


def gems():
    specification = (
        'Gem::Specification.new("sandgate-sample", "1.0") { |s| s.summary = "sample"; s.authors = ["Sandgate"]; '
        's.files = ["lib/sandgate-sample.rb"] }\n'
    )
    with tempfile.TemporaryDirectory() as directory:
        tree = pathlib.Path(directory)
        (tree / "lib").mkdir()
        (tree / "lib/sandgate-sample.rb").write_text(f"# {LINE}\n")
        (tree / "sample.gemspec").write_text(specification)
        (tree / "index/gems").mkdir(parents=True)
        command = ["gem", "build", "--silent", "--output", "index/gems/sandgate-sample-1.0.gem", "sample.gemspec"]
        subprocess.run(command, cwd=tree, check=True, stderr=subprocess.DEVNULL)
        command = ["gem", "generate_index", "--silent", "--directory", "index"]
        subprocess.run(command, cwd=tree, check=True, stderr=subprocess.DEVNULL)
        for file in (tree / "index").rglob("*"):
            if file.is_file():
                put(f"gems/{file.relative_to(tree / 'index')}", file.read_bytes())


def hub():
    put("hub/sandgate/sample/resolve/main/config.json", json.dumps({"sample": LINE}))


for registry in [pypi, npm, cargo, go, maven, apt, gems, hub]:
    registry()
