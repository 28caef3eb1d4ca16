<?php
[, $what, $base] = $argv;
$stream = fopen($base . ($what === "stream" ? "/sse?events=3" : "/zen"), "r");
if (!$stream) {
    exit(1);
}
while (($line = fgets($stream)) !== false) {
    echo $line;
}
