<?php
[, $what, $base] = $argv;
$curl = curl_init($base . ($what === "stream" ? "/sse?events=3" : "/zen"));
curl_setopt($curl, CURLOPT_WRITEFUNCTION, function ($curl, $piece) {
    echo $piece;
    return strlen($piece);
});
if (!curl_exec($curl)) {
    fwrite(STDERR, curl_error($curl) . "\n");
    exit(1);
}
