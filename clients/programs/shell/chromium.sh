chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update \
    --disable-sync --user-data-dir="$HOME/profile" --timeout=20000 --dump-dom "$2/zen" 2>log
grep -v -E 'dbus|DEPRECATED_ENDPOINT|gpu|font|unexpected operator' log >&2 || true
