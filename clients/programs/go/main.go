// net/http and grpc-go.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

func main() {
	client, what, base := os.Args[1], os.Args[2], os.Args[3]
	run := overHTTP
	if client == "grpc" {
		run = overGRPC
	}
	if err := run(what, base); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func overHTTP(what, base string) error {
	path := "/zen"
	if what == "stream" {
		path = "/sse?events=3"
	}
	response, err := http.Get(base + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

// raw is a codec for messages that are plain bytes, so that nothing is generated.
type raw struct{}

func (raw) Name() string                       { return "raw" }
func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }

func overGRPC(what, base string) error {
	host := strings.TrimPrefix(base, "https://") + ":443"
	connection, err := grpc.NewClient(host, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{})),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if what == "get" {
		question, answer := []byte("Keep it logically awesome."), []byte{}
		if err := connection.Invoke(ctx, "/sandgate.test.Echo/Unary", &question, &answer); err != nil {
			return err
		}
		fmt.Printf("%s\n", answer)
		return nil
	}
	stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		"/sandgate.test.Echo/BidiStream")
	if err != nil {
		return err
	}
	for event := range 3 {
		question, answer := []byte(fmt.Sprintf("event %d", event)), []byte{}
		if err := stream.SendMsg(&question); err != nil {
			return err
		}
		if err := stream.RecvMsg(&answer); err != nil {
			return err
		}
		fmt.Printf("%s\n", answer)
	}
	return nil
}
