if [ "$1" = stream ]; then curl -sSN "$2/sse?events=3"; else curl -sS "$2/zen"; fi
