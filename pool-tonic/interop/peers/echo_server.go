// The echo service of this check, on grpc-go. See the head of ../src/main.rs for what a server has to do.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/golang/protobuf/proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// raw passes bytes on as they are. Those of the health service are protobuf.
type raw struct{}

func (raw) String() string { return "raw" }

func (raw) Marshal(v interface{}) ([]byte, error) {
	if message, ok := v.(proto.Message); ok {
		return proto.Marshal(message)
	}
	return *v.(*[]byte), nil
}

func (raw) Unmarshal(data []byte, v interface{}) error {
	if message, ok := v.(proto.Message); ok {
		return proto.Unmarshal(data, message)
	}
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

var (
	ledger *os.File
	delay  time.Duration
	// How often the calls were begun that ask to fail at first.
	attempts     = map[string]int{}
	attemptsLock sync.Mutex
)

// attempt is the number of this attempt of a call, from 1.
func attempt(id string) int {
	attemptsLock.Lock()
	defer attemptsLock.Unlock()
	attempts[id]++
	return attempts[id]
}

// begin books a call, waits for the delay, and returns what books the end.
func begin(ctx context.Context) (func(), error) {
	headers, _ := metadata.FromIncomingContext(ctx)
	from, _ := peer.FromContext(ctx)
	id := headers["call-id"][0]
	fmt.Fprintf(ledger, "begin %s %s\n", id, from.Addr)
	if delay > 0 {
		time.Sleep(delay)
	}
	if first := headers["fail-first"]; len(first) > 0 {
		if most, err := strconv.Atoi(first[0]); err != nil || attempt(id) <= most {
			return nil, status.Error(codes.Unavailable, "asked to fail")
		}
	}
	return func() { fmt.Fprintf(ledger, "end %s\n", id) }, nil
}

func unary(_ interface{}, ctx context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
	end, err := begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	request := new([]byte)
	if err := decode(request); err != nil {
		return nil, err
	}
	return request, nil
}

func serverStream(_ interface{}, stream grpc.ServerStream) error {
	end, err := begin(stream.Context())
	if err != nil {
		return err
	}
	defer end()
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
	end, err := begin(stream.Context())
	if err != nil {
		return err
	}
	defer end()
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
	end, err := begin(stream.Context())
	if err != nil {
		return err
	}
	defer end()
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

// watched books the pings that come over its connections.
type watched struct{ net.Listener }

func (listener watched) Accept() (net.Conn, error) {
	conn, err := listener.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &pinged{Conn: conn, written: time.Now().UnixNano()}, nil
}

type pinged struct {
	net.Conn
	// When something went out last.
	written int64
}

func (conn *pinged) Read(data []byte) (int, error) {
	n, err := conn.Conn.Read(data)
	// A frame of HTTP/2 by itself, since all else is quiet then: 9 bytes of head, of the type PING, no
	// answer to one, and 8 bytes.
	if n == 17 && data[3] == 6 && data[4] == 0 {
		silence := time.Now().UnixNano() - atomic.LoadInt64(&conn.written)
		fmt.Fprintf(ledger, "ping %s %d\n", conn.RemoteAddr(), silence/int64(time.Millisecond))
	}
	return n, err
}

func (conn *pinged) Write(data []byte) (int, error) {
	atomic.StoreInt64(&conn.written, time.Now().UnixNano())
	return conn.Conn.Write(data)
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
	certificate := flag.String("certificate", "", "")
	key := flag.String("key", "", "")
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
	if *certificate != "" {
		tls, err := credentials.NewServerTLSFromFile(*certificate, *key)
		check(err)
		options = append(options, grpc.Creds(tls))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&echo, nil)
	healthy := health.NewServer()
	healthy.SetServingStatus("interop.Echo", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(server, healthy)
	listener, err := listen(*port)
	check(err)
	fmt.Printf("listening %d\n", listener.Addr().(*net.TCPAddr).Port)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			state := healthpb.HealthCheckResponse_ServingStatus_value[lines.Text()]
			healthy.SetServingStatus("interop.Echo", healthpb.HealthCheckResponse_ServingStatus(state))
			fmt.Printf("health %s\n", lines.Text())
		}
		server.GracefulStop()
	}()
	check(server.Serve(watched{listener}))
	// Serve returns when the listener is closed, GracefulStop when the calls are over.
	server.GracefulStop()
}
