use strict;
use warnings;
use HTTP::Tiny;

$| = 1;
my ($what, $base) = @ARGV;
my $path = $what eq "stream" ? "/sse?events=3" : "/zen";
my $response = HTTP::Tiny->new(verify_SSL => 1)->get($base . $path, { data_callback => sub { print $_[0] } });
die "$response->{status} $response->{reason}: " . ($response->{content} // "") . "\n" unless $response->{success};
