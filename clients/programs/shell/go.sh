export GOPATH="$HOME/go" GOCACHE="$HOME/cache" GOFLAGS="-mod=mod -modcacherw" GOPROXY="$2/goproxy" GONOSUMDB='*' GONOSUMCHECK=1 GOTOOLCHAIN=local
go mod init here 2>/dev/null
go mod download -x origin.test/sample@v1.0.0 2>trace || { tail -3 trace >&2; exit 1; }
cat "$GOPATH/pkg/mod/origin.test/sample@v1.0.0/sample.go"
