mkdir -p lists/partial archives/partial
echo "deb [trusted=yes] $2/apt stable main" >sources.list
here=$PWD
set -- -qq -o Dir::Etc::sourcelist="$here/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$here/lists" \
    -o Dir::Cache::archives="$here/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
apt-get "$@" update
apt-get "$@" download sandgate-sample
dpkg-deb -f sandgate-sample_1.0_all.deb Description
