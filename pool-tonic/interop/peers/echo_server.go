// The echo service of this check, on grpc-go. See the head of ../src/main.rs for what a server has to do.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"io/ioutil"
	"net"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// raw passes bytes on as they are, in the place of protobuf.
type raw struct{}

func (raw) String() string                        { return "raw" }
func (raw) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

var (
	ledger *os.File
	delay  time.Duration
)

// begin books a call, waits for the delay, and returns what books the end.
func begin(ctx context.Context) func() {
	headers, _ := metadata.FromIncomingContext(ctx)
	from, _ := peer.FromContext(ctx)
	id := headers["call-id"][0]
	fmt.Fprintf(ledger, "begin %s %s\n", id, from.Addr)
	if delay > 0 {
		time.Sleep(delay)
	}
	return func() { fmt.Fprintf(ledger, "end %s\n", id) }
}

func unary(_ interface{}, ctx context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
	defer begin(ctx)()
	request := new([]byte)
	if err := decode(request); err != nil {
		return nil, err
	}
	return request, nil
}

func serverStream(_ interface{}, stream grpc.ServerStream) error {
	defer begin(stream.Context())()
	request := new([]byte)
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	for i := 0; i < 3; i++ {
		if err := stream.SendMsg(request); err != nil {
			return err
		}
	}
	return nil
}

func clientStream(_ interface{}, stream grpc.ServerStream) error {
	defer begin(stream.Context())()
	var whole bytes.Buffer
	for {
		request := new([]byte)
		if err := stream.RecvMsg(request); err == io.EOF {
			answer := whole.Bytes()
			return stream.SendMsg(&answer)
		} else if err != nil {
			return err
		}
		whole.Write(*request)
	}
}

func bidi(_ interface{}, stream grpc.ServerStream) error {
	defer begin(stream.Context())()
	for {
		request := new([]byte)
		if err := stream.RecvMsg(request); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(request); err != nil {
			return err
		}
	}
}

var echo = grpc.ServiceDesc{
	ServiceName: "interop.Echo",
	HandlerType: (*interface{})(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
	Streams: []grpc.StreamDesc{
		{StreamName: "ServerStream", Handler: serverStream, ServerStreams: true},
		{StreamName: "ClientStream", Handler: clientStream, ClientStreams: true},
		{StreamName: "Bidi", Handler: bidi, ServerStreams: true, ClientStreams: true},
	},
}

// soReusePort lets a successor listen before this one has stopped; package syscall lacks the name.
const soReusePort = 15

func listen(port int) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, socket syscall.RawConn) error {
		var failed error
		err := socket.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
		})
		if err != nil {
			return err
		}
		return failed
	}}
	return config.Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	port := flag.Int("port", 0, "")
	path := flag.String("ledger", "", "")
	delayMs := flag.Int("delay-ms", 0, "")
	streams := flag.Uint("streams", 0, "")
	ageMs := flag.Int("age-ms", 0, "")
	flag.Parse()
	delay = time.Duration(*delayMs) * time.Millisecond

	var err error
	ledger, err = os.OpenFile(*path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	check(err)
	options := []grpc.ServerOption{grpc.CustomCodec(raw{})}
	if *streams > 0 {
		options = append(options, grpc.MaxConcurrentStreams(uint32(*streams)))
	}
	if *ageMs > 0 {
		options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge:      time.Duration(*ageMs) * time.Millisecond,
			MaxConnectionAgeGrace: 5 * time.Second,
		}))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&echo, nil)
	listener, err := listen(*port)
	check(err)
	fmt.Printf("listening %d\n", listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(ioutil.Discard, os.Stdin)
		server.GracefulStop()
	}()
	check(server.Serve(listener))
	// Serve returns when the listener is closed, GracefulStop when the calls are over.
	server.GracefulStop()
}
