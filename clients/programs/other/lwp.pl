use strict;
use warnings;
use LWP::UserAgent;

$| = 1;
my ($what, $base) = @ARGV;
my $agent = LWP::UserAgent->new(env_proxy => 1);
my $path = $what eq "stream" ? "/sse?events=3" : "/zen";
my $response = $agent->get($base . $path, ":content_cb" => sub { print $_[0] });
die $response->status_line . "\n" unless $response->is_success;
