package codec_test

import (
	"fmt"
	"net/http"

	"github.com/signalmesh/signalmesh/pkg/codec"
	"github.com/signalmesh/signalmesh/pkg/fault"
	"github.com/signalmesh/signalmesh/pkg/signal"
)

func ExampleToNATS() {
	s := &signal.Signal{ID: "1", Source: "/shop", Type: "order.created", Data: []byte(`{"cents":4200}`)}
	header, body, err := codec.ToNATS(s, codec.Structured)
	fmt.Println(header, string(body), err)

	s.DataContentType, s.Data = "image/png", []byte("PNG") // binary mode: no base64
	header, body, err = codec.ToNATS(s, codec.Structured)
	fmt.Println(header["ce-type"], header["ce-datacontenttype"], string(body), err)
	// Output:
	// map[Content-Type:[application/cloudevents+json]] {"specversion":"1.0","id":"1","source":"/shop","type":"order.created","data":{"cents":4200}} <nil>
	// [order.created] [image/png] PNG <nil>
}

func ExampleFromHTTP() {
	header := http.Header{}
	header.Set("ce-specversion", "1.0")
	header.Set("ce-id", "1")
	header.Set("ce-source", "/shop")
	header.Set("ce-type", "order.created")
	header.Set("ce-subject", "50%25%20off")
	signals, err := codec.FromHTTP(header, []byte(`{"cents":2100}`))
	fmt.Println(signals[0].Subject, string(signals[0].Data), err)

	header.Set("ce-time", "yesterday")
	_, err = codec.FromHTTP(header, nil)
	fmt.Println(fault.CodeOf(err), err)
	// Output:
	// 50% off {"cents":2100} <nil>
	// invalid attribute "time": not an RFC 3339 time
}
