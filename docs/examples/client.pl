#!/usr/bin/perl
# A client of the box's control socket in Perl, with its core modules: says who is restricted.
use strict;
use warnings;
use IO::Socket::UNIX;
use JSON::PP;

my $path = shift // '/run/portcullis/control.sock';
my $box  = IO::Socket::UNIX->new(Peer => $path) or die "$path: $!\n";
my $json = JSON::PP->new->canonical->utf8;
my $id   = 0;

sub call {
    my ($method, $params) = @_;
    print {$box} $json->encode({ jsonrpc => '2.0', id => ++$id, method => $method, params => $params }), "\n";
    $box->flush;
    my $answer = $json->decode(scalar <$box> // die "the box has gone\n");
    die "$answer->{error}{data}{kind}: $answer->{error}{message}\n" if $answer->{error};
    return $answer->{result};
}

my $after;
do {
    my $page = call('vm.list', { filter => { class => 'restricted' }, defined $after ? (after => $after) : () });
    print "$_->{vm}{id}\n" for @{ $page->{vms} };
    $after = $page->{next};
} while defined $after;
