<?php
[, $what, $base] = $argv;
$proxy = str_replace("http://", "tcp://", getenv("HTTPS_PROXY"));
$context = stream_context_create(["http" => ["proxy" => $proxy, "request_fulluri" => true]]);
$stream = fopen($base . ($what === "stream" ? "/sse?events=3" : "/zen"), "r", false, $context);
if (!$stream) {
    exit(1);
}
while (($line = fgets($stream)) !== false) {
    echo $line;
}
