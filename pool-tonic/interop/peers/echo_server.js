// The echo service of this check, on @grpc/grpc-js. See the head of ../src/main.rs for what a server has to do.
'use strict';

const fs = require('fs');
const { parseArgs } = require('util');
const grpc = require('@grpc/grpc-js');

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    ledger: { type: 'string' },
    'delay-ms': { type: 'string', default: '0' },
    streams: { type: 'string' },
    'age-ms': { type: 'string' },
    certificate: { type: 'string' },
    key: { type: 'string' },
  },
});
const ledger = fs.openSync(values.ledger, 'a');
const delay = Number(values['delay-ms']);

// How often the calls were begun that ask to fail at first.
const attempts = new Map();

// Runs `work` after the delay; it is told how to say that the call is over.
function enter(call, fail, work) {
  const id = call.metadata.get('call-id')[0];
  fs.writeSync(ledger, `begin ${id} ${call.getPeer()}\n`);
  const end = () => fs.writeSync(ledger, `end ${id}\n`);
  const run = () => {
    const first = Number(call.metadata.get('fail-first')[0] || 0);
    if (first > 0) {
      attempts.set(id, (attempts.get(id) || 0) + 1);
      if (attempts.get(id) <= first) {
        fail({ code: grpc.status.UNAVAILABLE, details: 'asked to fail' });
        return;
      }
    }
    work(end);
  };
  if (delay > 0) {
    setTimeout(run, delay);
  } else {
    run();
  }
}

const failStream = (call) => (error) => call.emit('error', error);

function unary(call, callback) {
  enter(call, callback, (end) => {
    end();
    callback(null, call.request);
  });
}

function serverStream(call) {
  enter(call, failStream(call), (end) => {
    for (let i = 0; i < 3; i++) {
      call.write(call.request);
    }
    end();
    call.end();
  });
}

function clientStream(call, callback) {
  enter(call, callback, (end) => {
    const requests = [];
    call.on('data', (request) => requests.push(request));
    call.on('end', () => {
      end();
      callback(null, Buffer.concat(requests));
    });
  });
}

function bidi(call) {
  enter(call, failStream(call), (end) => {
    call.on('data', (request) => call.write(request));
    call.on('end', () => {
      end();
      call.end();
    });
  });
}

const same = (bytes) => bytes;
function method(name, requestStream, responseStream) {
  return {
    path: `/interop.Echo/${name}`,
    requestStream,
    responseStream,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}

const options = {};
if (values.streams) {
  options['grpc.max_concurrent_streams'] = Number(values.streams);
}
if (values['age-ms']) {
  options['grpc.max_connection_age_ms'] = Number(values['age-ms']);
  options['grpc.max_connection_age_grace_ms'] = 5000;
}
const credentials = values.certificate
  ? grpc.ServerCredentials.createSsl(null, [
      { cert_chain: fs.readFileSync(values.certificate), private_key: fs.readFileSync(values.key) },
    ])
  : grpc.ServerCredentials.createInsecure();
const server = new grpc.Server(options);
server.addService(
  {
    unary: method('Unary', false, false),
    serverStream: method('ServerStream', false, true),
    clientStream: method('ClientStream', true, false),
    bidi: method('Bidi', true, true),
  },
  { unary, serverStream, clientStream, bidi },
);
server.bindAsync(`127.0.0.1:${values.port}`, credentials, (error, port) => {
  if (error) {
    throw error;
  }
  console.log(`listening ${port}`);
});
process.stdin.resume();
process.stdin.on('end', () => {
  server.tryShutdown(() => process.exit(0));
  setTimeout(() => process.exit(1), 5000).unref();
});
