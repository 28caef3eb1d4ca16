if [ "$1" = stream ]; then wget -nv -O - "$2/sse?events=3"; else wget -nv -O - "$2/zen"; fi
