# frozen_string_literal: true

# The documented VISOR client API, exercised against a running server that has two accounts.
#
#   VISOR_URL                                    where the server answers
#   VISOR_ACCESS_KEY,   VISOR_SECRET_KEY         an account without special rights
#   VISOR_ACCESS_KEY_2, VISOR_SECRET_KEY_2       another one; the test of DELETE /all empties it
#   VISOR_IMPORT_DIR                             a folder that the server may register files from (file://)
#   VISOR_TALLY                                  a file to write "passed failed" to
#
# The server must allow fetches from 127.0.0.1: the test of http:// locations is its own upstream.

require 'digest'
require 'fileutils'
require 'minitest/autorun'
require 'rexml/document'
require 'securerandom'
require 'socket'
require 'tmpdir'
require_relative 'visor_client'

# Writes the counts where the script that adds them up finds them.
class Tally < Minitest::StatisticsReporter
  def report
    super
    failed = failures + errors + skips
    File.write(ENV.fetch('VISOR_TALLY'), "#{count - failed} #{failed}\n")
  end
end

module Minitest
  def self.plugin_tally_init(_options)
    reporter << Tally.new if ENV['VISOR_TALLY']
  end
  extensions << 'tally'
end

class SignatureTest < Minitest::Test
  DATE = { 'Date' => 'Fri, 15 Jun 2012 20:05:20 GMT' }.freeze
  UBUNTU = '/images/edfa919a-0415-4d26-b54d-ae78ffc4dc79'
  CENTOS = '/images/7583d669-8a65-41f1-b8ae-eb34ff6b322f'

  def assert_signature(expected, verb, target, headers = {})
    text = VisorClient::Signature.text(verb, target, DATE.merge(headers))
    assert_equal expected, VisorClient::Signature.of('bar', text), text
  end

  def test_list
    assert_signature '+MTF4X/rH90RatWiesO3sCY+Axg=', 'GET', '/images'
    assert_signature '+MTF4X/rH90RatWiesO3sCY+Axg=', 'GET', '/images?architecture=x86_64&sort=name&dir=desc'
  end

  def test_head
    assert_signature 'OCgnrszy5vWKCU+1YF3LXMvevSo=', 'HEAD', UBUNTU
  end

  def test_register
    assert_signature 'V2ErW5JfFs2zmcsbEFNm8yfwZ8M=', 'POST', '/images',
                     'X-Image-Meta-Name' => 'CentOS 6.2', 'X-Image-Meta-Architecture' => 'i386',
                     'X-Image-Meta-Format' => 'iso', 'X-Image-Meta-Access' => 'private'
  end

  def test_upload
    assert_signature 's0NHcxg7Zf65PMdhNlXIwMbYMIA=', 'POST', '/images',
                     'X-Image-Meta-Name' => 'Fedora Desktop 17', 'X-Image-Meta-Architecture' => 'x86_64',
                     'X-Image-Meta-Format' => 'iso', 'X-Image-Meta-Store' => 'file',
                     'Content-Type' => 'application/octet-stream'
  end

  def test_update_with_padding_and_md5
    assert_signature 'OicZo7UktIxiiJo3YCeEd13/+LI=', 'PUT', CENTOS,
                     'X-Image-Meta-Name' => '  padded ', 'Content-MD5' => 'abc=='
  end

  def test_delete
    assert_signature '6PpMZf5SCz7E6385/WbmBGlrK6k=', 'DELETE', CENTOS
  end
end

# What the tests of the server have in common. Every image that a test makes carries the attribute `run`
# with a value of its own, so that lists can be asked for these only.
class ServerTest < Minitest::Test
  URL = ENV.fetch('VISOR_URL')
  UUID = /\A\h{8}-\h{4}-4\h{3}-[89ab]\h{3}-\h{12}\z/
  BRIEF = %i[_id name architecture type format store size].freeze
  UNKNOWN = '11111111-2222-4333-8444-555555555555'

  def setup
    @alice = account('')
    @bob = account('_2')
    @run = SecureRandom.hex(8)
    @dir = Dir.mktmpdir('visor-ruby-')
  end

  def teardown
    FileUtils.remove_entry(@dir)
    [@alice, @bob].each do |client|
      client.get_images(run: @run).each do |image|
        client.delete_image(image[:_id])
      rescue VisorClient::Forbidden
        next # a public image of the other account, which removes it itself
      end
    rescue VisorClient::NotFound
      next
    end
  end

  def account(suffix)
    VisorClient.new(URL, access_key: ENV.fetch("VISOR_ACCESS_KEY#{suffix}"),
                         secret_key: ENV.fetch("VISOR_SECRET_KEY#{suffix}"))
  end

  def register(client = @alice, file = nil, **meta)
    client.post_image({ name: 'test', architecture: 'x86_64', run: @run }.merge(meta), file)
  end

  def file_of(bytes, name = 'image.bin')
    path = File.join(@dir, name)
    File.binwrite(path, bytes)
    path
  end

  # What makes bytes an optical disc lies behind its first 32 KiB.
  def disc(bytes)
    "\0".b * 32_768 + "\x01CD001\x01".b + bytes
  end

  def download(client, id)
    bytes = String.new(encoding: Encoding::BINARY)
    client.get_image(id) { |chunk| bytes << chunk }
    bytes
  end

  def json(reply)
    JSON.parse(reply.body, symbolize_names: true)
  end

  def assert_raises_saying(exception, pattern, &block)
    error = assert_raises(exception, &block)
    assert_match pattern, error.message
    error
  end
end

# The examples of the documented API, in its order.
class DocumentedTest < ServerTest
  def test_register_metadata
    image = register(name: 'CentOS 6.2', architecture: 'i386', format: 'iso', access: 'private')
    assert_match UUID, image[:_id]
    assert_match %r{\Ahttp://[^/]+/images/#{image[:_id]}\z}, image[:uri]
    assert_equal ['CentOS 6.2', 'i386', 'private', 'iso', 'locked'],
                 image.values_at(:name, :architecture, :access, :format, :status)
    assert_equal @alice.access_key, image[:owner]
    assert_match VisorClient::TIMESTAMP, image[:created_at]
    assert_in_delta Time.now, Time.parse(image[:created_at]), 120
    refute_includes image.values, nil, 'an attribute that is not set is left out'
    %i[size checksum location updated_at accessed_at access_count others].each { |name| refute_includes image.keys, name }
    assert_equal @run, image[:run], 'free attributes are kept'
  end

  def test_access_is_public_by_default
    assert_equal 'public', register[:access]
  end

  def test_register_a_location
    bytes = Random.bytes(70_001)
    upstream(bytes) do |url|
      image = register(name: 'Ubuntu 12.04 Server', format: 'iso', store: 'http', location: url)
      assert_equal ['available', 'http', url], image.values_at(:status, :store, :location)
      assert_equal bytes.bytesize, image[:size]
      assert_equal '140f3-2ba4b000-4be8328106940', image[:checksum], 'the ETag of the upstream'
      assert_equal bytes, download(@alice, image[:_id]), 'the file comes through'
      assert_raises_saying(VisorClient::NotFound, /image file/i) { register(store: 'http', location: "#{url}/nothing") }
      assert_raises(VisorClient::Invalid) { register(@alice, file_of('x'), store: 'http') }
    end
  end

  def test_upload
    bytes = disc(Random.bytes(300_007))
    image = register(@alice, file_of(bytes), name: 'Fedora Desktop 17', format: 'iso', store: 'file')
    assert_equal ['available', 'file', bytes.bytesize, Digest::MD5.hexdigest(bytes)],
                 image.values_at(:status, :store, :size, :checksum)
    assert_equal bytes, download(@alice, image[:_id])
  end

  def test_upload_to_the_default_store
    image = register(@alice, file_of('abc'))
    assert_equal ['available', 3, Digest::MD5.hexdigest('abc')], image.values_at(:status, :size, :checksum)
    assert_equal 'abc', download(@alice, image[:_id]), 'a small file is there as soon as the reply is'
  end

  def test_head
    image = register(@alice, file_of(disc('abc')), name: 'Ubuntu 12.04 Server', format: 'iso')
    meta = @alice.head_image(image[:_id])
    image.each_key { |name| assert_includes meta.keys, name }
    assert_equal ['Ubuntu 12.04 Server', disc('abc').bytesize, image[:checksum]], meta.values_at(:name, :size, :checksum)
    assert_instance_of Time, meta[:created_at], 'this client reads the form of the time'
    assert_equal Time.parse(image[:created_at]), meta[:created_at]
  end

  def test_brief_list
    ids = %w[Ubuntu CentOS].map { |name| register(name: name, format: 'iso', type: 'machine')[:_id] }
    listed = @alice.get_images(run: @run)
    assert_equal ids.sort, listed.map { |image| image[:_id] }, 'sorted by _id when nothing else is asked'
    listed.each { |image| assert_empty image.keys - BRIEF }
    assert_operator @alice.get_images.length, :>=, 2
  end

  def test_list_filters_and_sorts
    register(name: 'Fedora 16', architecture: 'i386')
    register(name: 'CentOS 6')
    register(name: 'Ubuntu 10.04 Server')
    names = ->(query) { @alice.get_images({ run: @run }.merge(query)).map { |image| image[:name] } }
    assert_equal ['Fedora 16'], names.call(architecture: 'i386')
    assert_equal ['Ubuntu 10.04 Server', 'CentOS 6'], names.call(architecture: 'x86_64', sort: 'name', dir: 'desc')
    assert_equal ['CentOS 6', 'Ubuntu 10.04 Server'], names.call(architecture: 'x86_64', sort: 'name')
    assert_equal ['Ubuntu 10.04 Server'], names.call(name: 'Ubuntu 10.04 Server')
    assert_equal ['CentOS 6', 'Fedora 16', 'Ubuntu 10.04 Server'], names.call(sort: 'name', dir: 'ASC')
  end

  def test_list_filters_by_size
    register(@alice, file_of('abc'))
    register(@alice, file_of('abcd'))
    assert_equal [4], @alice.get_images(run: @run, size: 4).map { |image| image[:size] }
    assert_equal [3, 4], @alice.get_images(run: @run, sort: 'size').map { |image| image[:size] }
    assert_equal [4], @alice.get_images(run: @run, size_min: 4).map { |image| image[:size] }
  end

  def test_detailed_list
    image = register(@alice, file_of(disc('abc')), name: 'detailed', format: 'iso')
    listed = @alice.get_images_detail(run: @run, sort: 'created_at', dir: 'asc')
    assert_equal [image], listed
    assert_empty listed.first.keys & %i[accessed_at access_count]
  end

  def test_pages_of_a_list
    ids = Array.new(5) { register[:_id] }.sort
    first = @alice.get_images(run: @run, limit: 2).map { |image| image[:_id] }
    rest = @alice.get_images(run: @run, marker: first.last).map { |image| image[:_id] }
    assert_equal [ids.first(2), ids.drop(2)], [first, rest]
  end

  def test_update_metadata
    image = register(name: 'Ubuntu 12.04 Server')
    updated = @alice.put_image(image[:_id], name: 'Ubuntu 12.04', architecture: 'i386')
    assert_equal ['Ubuntu 12.04', 'i386', 'locked'], updated.values_at(:name, :architecture, :status)
    assert_equal image.values_at(:_id, :uri, :created_at, :owner, :run), updated.values_at(:_id, :uri, :created_at, :owner, :run)
    assert_match VisorClient::TIMESTAMP, updated[:updated_at]
    assert_equal updated, @alice.get_images_detail(run: @run).first
  end

  def test_update_of_a_free_attribute_keeps_the_others
    image = register(colour: 'red', shape: 'round')
    updated = @alice.put_image(image[:_id], colour: 'blue')
    assert_equal ['blue', 'round', @run], updated.values_at(:colour, :shape, :run)
  end

  def test_update_with_file
    bytes = disc(Random.bytes(123_457))
    image = register(name: 'CentOS 6.2', architecture: 'i386', access: 'private')
    updated = @alice.put_image(image[:_id], { format: 'iso', store: 'file' }, file_of(bytes))
    assert_equal ['available', 'iso', 'file', 'private', bytes.bytesize, Digest::MD5.hexdigest(bytes)],
                 updated.values_at(:status, :format, :store, :access, :size, :checksum)
    assert_equal bytes, download(@alice, image[:_id])
  end

  def test_update_with_a_file_alone
    image = register
    assert_equal 'available', @alice.put_image(image[:_id], nil, file_of('abc'))[:status]
  end

  def test_update_with_the_location_of_a_file
    path = File.join(ENV.fetch('VISOR_IMPORT_DIR'), "#{@run}.iso")
    bytes = disc('an image that was there before')
    File.binwrite(path, bytes)
    image = register(name: 'CentOS 6.2', architecture: 'i386', access: 'private')
    updated = @alice.put_image(image[:_id], format: 'iso', store: 'file', location: "file://#{path}")
    assert_equal ['available', bytes.bytesize, Digest::MD5.file(path).hexdigest], updated.values_at(:status, :size, :checksum)
    assert_equal bytes, download(@alice, image[:_id])
    @alice.delete_image(image[:_id])
    assert_path_exists path, 'a registered file is not ours to remove'
  ensure
    FileUtils.rm_f(path)
  end

  def test_delete
    image = register(@alice, file_of('abc'), name: 'Ubuntu 12.04')
    deleted = @alice.delete_image(image[:_id])
    assert_equal image.values_at(:_id, :name, :checksum), deleted.values_at(:_id, :name, :checksum)
    assert_raises_saying(VisorClient::NotFound, /#{image[:_id]}/) { @alice.delete_image(image[:_id]) }
    assert_raises(VisorClient::NotFound) { download(@alice, image[:_id]) }
  end

  def test_delete_by_query
    register(name: 'a', architecture: 'i386')
    ids = [register(name: 'b'), register(name: 'c')].map { |image| image[:_id] }
    deleted = @alice.delete_by_query(run: @run, architecture: 'x86_64')
    assert_equal ids.sort, deleted.map { |image| image[:_id] }.sort
    assert_equal ['a'], @alice.get_images(run: @run).map { |image| image[:name] }
  end

  def test_kernel_and_ramdisk
    kernel = register(@alice, file_of('kernel'), name: 'vmlinuz', type: 'kernel', format: 'aki')
    ramdisk = register(@alice, file_of('ramdisk'), name: 'initrd', type: 'ramdisk', format: 'ari')
    machine = register(type: 'machine', format: 'ami', kernel: kernel[:_id], ramdisk: ramdisk[:_id])
    assert_equal [kernel[:_id], ramdisk[:_id]], machine.values_at(:kernel, :ramdisk)
    assert_equal [machine[:_id]], @alice.get_images(run: @run, kernel: kernel[:_id]).map { |image| image[:_id] }
    assert_raises_saying(VisorClient::Invalid, /#{ramdisk[:_id]} is not a kernel image/) { register(kernel: ramdisk[:_id]) }
    assert_raises_saying(VisorClient::Invalid, /#{kernel[:_id]} is not a ramdisk image/) { register(ramdisk: kernel[:_id]) }
    assert_raises_saying(VisorClient::NotFound, /No image found with id '#{UNKNOWN}'/) { register(kernel: UNKNOWN) }
    assert_raises(VisorClient::NotFound) { @alice.put_image(machine[:_id], ramdisk: UNKNOWN) }
  end

  private

  # One file on a port of its own, until the block ends.
  def upstream(bytes)
    server = TCPServer.new('127.0.0.1', 0)
    thread = Thread.new do
      loop do
        serve(server.accept, bytes)
      rescue IOError, SystemCallError
        break if server.closed?
      end
    end
    yield "http://127.0.0.1:#{server.addr[1]}/ubuntu-12.04-desktop-amd64.iso"
  ensure
    server&.close
    thread&.kill&.join
  end

  def serve(socket, bytes)
    verb, path = socket.gets.to_s.split
    nil while (line = socket.gets) && line != "\r\n"
    bytes = nil unless path.to_s.end_with?('.iso')
    socket.write("HTTP/1.1 #{bytes ? '200 OK' : '404 Not Found'}\r\nContent-Length: #{bytes.to_s.bytesize}\r\n" \
                 "ETag: \"140f3-2ba4b000-4be8328106940\"\r\nConnection: close\r\n\r\n")
    socket.write(bytes) if bytes && verb == 'GET'
  ensure
    socket.close
  end
end

# What the client turns into exceptions.
class FailureTest < ServerTest
  def test_unknown_id
    saying = /No image found with id '#{UNKNOWN}'/
    assert_raises_saying(VisorClient::NotFound, saying) { @alice.head_image(UNKNOWN) }
    assert_raises_saying(VisorClient::NotFound, saying) { download(@alice, UNKNOWN) }
    assert_raises_saying(VisorClient::NotFound, saying) { @alice.put_image(UNKNOWN, name: 'x') }
    assert_raises_saying(VisorClient::NotFound, saying) { @alice.delete_image(UNKNOWN) }
    assert_raises(VisorClient::NotFound) { @alice.head_image('not-an-id') }
  end

  def test_nothing_matches
    assert_raises_saying(VisorClient::NotFound, /No public images found with given parameters\./) { @alice.get_images(run: @run) }
    assert_raises(VisorClient::NotFound) { @alice.get_images_detail(run: @run) }
    assert_raises(VisorClient::NotFound) { @alice.delete_by_query(run: @run) }
  end

  def test_bad_values
    assert_raises_saying(VisorClient::Invalid, /Invalid architecture 'quantum', available options: i386, x86_64/) { register(architecture: 'quantum') }
    assert_raises_saying(VisorClient::Invalid, /Invalid access 'secret', available options: public, private/) { register(access: 'secret') }
    assert_raises_saying(VisorClient::Invalid, /Invalid format 'floppy'/) { register(format: 'floppy') }
    assert_raises_saying(VisorClient::Invalid, /Invalid type 'toy'/) { register(type: 'toy') }
    assert_raises_saying(VisorClient::Invalid, /Invalid store 'attic'/) { register(store: 'attic') }
    assert_raises(VisorClient::Invalid) { register(@alice, file_of('abc'), store: 'attic') }
    assert_raises(VisorClient::NotFound, 'nothing was registered') { @alice.get_images(run: @run) }
    image = register
    assert_raises(VisorClient::Invalid) { @alice.put_image(image[:_id], architecture: 'quantum') }
  end

  def test_missing_values
    assert_raises_saying(VisorClient::Invalid, /These fields are required: name\b/) { @alice.post_image(architecture: 'i386') }
    assert_raises_saying(VisorClient::Invalid, /These fields are required: architecture\b/) { @alice.post_image(name: 'x') }
    assert_raises_saying(VisorClient::Invalid, /These fields are required: name, architecture/) { @alice.post_image({}) }
  end

  def test_read_only_values
    image = register
    %i[_id uri created_at updated_at owner status accessed_at access_count].each do |name|
      assert_raises_saying(VisorClient::Invalid, /These fields are read-only: #{name}/) { @alice.put_image(image[:_id], name => '1') }
    end
    assert_raises_saying(VisorClient::Invalid, /read-only/) { register(_id: UNKNOWN) }
  end

  def test_owner_is_the_caller
    image = register(owner: @bob.access_key)
    assert_equal @alice.access_key, image[:owner]
  rescue VisorClient::Invalid => e
    assert_match(/read-only: owner/, e.message)
  end

  def test_nothing_to_update
    image = register
    assert_raises_saying(VisorClient::Invalid, /No headers or body found for update/) { @alice.put_image(image[:_id], {}) }
    assert_raises(VisorClient::Invalid) { @alice.put_image(image[:_id], nil) }
  end

  def test_location_and_body
    saying = /When the location header is present no file content can be provided/
    assert_raises_saying(VisorClient::Invalid, saying) { register(@alice, file_of('abc'), location: 'http://127.0.0.1:1/x') }
    image = register
    assert_raises_saying(VisorClient::Invalid, saying) { @alice.put_image(image[:_id], { location: 'http://127.0.0.1:1/x' }, file_of('abc')) }
  end

  def test_unsafe_locations
    # Only 127.0.0.1 is allowed: the other spellings mean 127.0.0.2.
    %w[file:///etc/passwd file:///etc/../etc/passwd ftp://127.0.0.1/x gopher://127.0.0.1/x
       http://127.0.0.2/x http://2130706434/x http://0177.0.0.2/x http://[::ffff:127.0.0.2]/x].each do |location|
      assert_raises(VisorClient::Invalid, VisorClient::Forbidden, VisorClient::NotFound, location) { register(location: location) }
    end
    link = File.join(ENV.fetch('VISOR_IMPORT_DIR'), "#{@run}-link")
    File.symlink('/etc/passwd', link)
    assert_raises(VisorClient::Invalid, VisorClient::Forbidden, VisorClient::NotFound) { register(location: "file://#{link}") }
    assert_raises(VisorClient::NotFound, 'nothing was registered') { @alice.get_images(run: @run) }
  ensure
    FileUtils.rm_f(link) if link
  end

  def test_file_for_an_available_image
    image = register(@alice, file_of('abc'))
    assert_raises_saying(VisorClient::Conflict, /Can only assign image file to a locked or error image/) do
      @alice.put_image(image[:_id], { name: 'changed' }, file_of('other', 'other.bin'))
    end
    assert_equal 'abc', download(@alice, image[:_id])
    assert_equal 'test', @alice.head_image(image[:_id])[:name], 'a refused update changes nothing'
  end

  def test_content_type_of_a_file
    reply = @alice.raw('POST', '/images', body: 'abc',
                                          headers: { 'X-Image-Meta-Name' => 'x', 'X-Image-Meta-Architecture' => 'i386',
                                                     'X-Image-Meta-Run' => @run, 'Content-Type' => 'text/plain' })
    assert_equal ['400', 'Request Content-Type must be application/octet-stream'], [reply.code, json(reply)[:message]]
  end

  def test_claimed_size_and_checksum
    md5 = Digest::MD5.hexdigest('abc')
    assert_equal md5, register(@alice, file_of('abc'), checksum: md5, size: 3)[:checksum]
    assert_raises(VisorClient::Invalid) { register(@alice, file_of('abd'), name: 'wrong', checksum: md5) }
    assert_raises(VisorClient::Invalid) { register(@alice, file_of('abcd'), name: 'wrong', size: 3) }
    assert_raises(VisorClient::NotFound, 'nothing is kept') { @alice.get_images(run: @run, name: 'wrong') }
  end

  def test_bad_sort
    register
    assert_raises(VisorClient::Invalid) { @alice.get_images(run: @run, sort: 'no_such_attribute') }
    assert_raises(VisorClient::Invalid) { @alice.get_images(run: @run, dir: 'sideways') }
  end

  def test_aborted_upload
    headers = { 'X-Image-Meta-Name' => 'aborted', 'X-Image-Meta-Architecture' => 'i386', 'X-Image-Meta-Run' => @run,
                'Content-Type' => 'application/octet-stream', 'Date' => Time.now.utc.httpdate }
    text = VisorClient::Signature.text('POST', '/images', headers)
    headers['Authorization'] = "VISOR #{@alice.access_key}:#{VisorClient::Signature.of(@alice.secret_key, text)}"
    url = URI(URL)
    TCPSocket.open(url.host, url.port) do |socket|
      socket.write("POST /images HTTP/1.1\r\nHost: #{url.host}:#{url.port}\r\nTransfer-Encoding: chunked\r\n" \
                   "#{headers.map { |name, value| "#{name}: #{value}\r\n" }.join}\r\n")
      socket.write("10000\r\n#{'x' * 65_536}\r\n10000\r\nhalf of it")
      socket.flush
      sleep 0.2
    end
    listed = nil
    100.times do
      listed = begin
        @alice.get_images_detail(run: @run).map { |image| image[:status] }
      rescue VisorClient::NotFound
        []
      end
      break if (listed - %w[error locked]).empty?

      sleep 0.2
    end
    assert_empty listed - %w[error locked], 'half a file never becomes available'
  end
end

# Accounts, signatures, and who may do what.
class AccessTest < ServerTest
  def test_wrong_secret
    liar = VisorClient.new(URL, access_key: @alice.access_key, secret_key: 'wrong')
    saying = /Invalid authorization, signatures do not match\./
    assert_raises_saying(VisorClient::Forbidden, saying) { liar.get_images }
    assert_raises_saying(VisorClient::Forbidden, saying) { liar.head_image(UNKNOWN) }
    assert_raises_saying(VisorClient::Forbidden, saying) { liar.post_image({ name: 'x', architecture: 'i386' }, file_of('abc')) }
  end

  def test_unknown_key
    stranger = VisorClient.new(URL, access_key: 'nobody', secret_key: 'bar')
    assert_raises_saying(VisorClient::Forbidden, /No user found with access key 'nobody'\./) { stranger.get_images }
  end

  def test_broken_authorization
    message = ->(unsigned) { reply = @alice.raw('GET', '/images', unsigned: unsigned); [reply.code, json(reply)[:message]] }
    assert_equal ['403', 'Authorization not provided.'], message.call('Authorization' => nil)
    assert_equal ['403', 'No access key found in Authorization.'], message.call('Authorization' => 'VISOR')
    assert_equal '403', message.call('Authorization' => "VISOR #{@alice.access_key}:")[0]
    assert_equal '403', message.call('Authorization' => "VISOR #{@alice.access_key}:#{'A' * 28}")[0]
  end

  def test_what_is_signed_cannot_be_changed
    headers = { 'X-Image-Meta-Name' => 'honest', 'X-Image-Meta-Architecture' => 'i386', 'X-Image-Meta-Run' => @run }
    [{ 'X-Image-Meta-Name' => 'changed' }, { 'X-Image-Meta-Access' => 'private' }, { 'X_Image_Meta_Type' => 'kernel' },
     { 'Date' => (Time.now.utc + 60).httpdate }, { 'Content-MD5' => 'abc' }].each do |unsigned|
      assert_equal '403', @alice.raw('POST', '/images', headers: headers, unsigned: unsigned).code, unsigned.inspect
    end
    assert_equal '403', @alice.raw('POST', '/images', headers: headers, unsigned: { 'Content-Type' => 'application/octet-stream' }, body: 'abc').code
  end

  # A modern Ruby adds this type to a POST or PUT without a body, after the signature was made.
  def test_form_content_type_without_a_body
    trap = { 'Content-Type' => 'application/x-www-form-urlencoded' }
    headers = { 'X-Image-Meta-Name' => 'trap', 'X-Image-Meta-Architecture' => 'i386', 'X-Image-Meta-Run' => @run }
    posted = @alice.raw('POST', '/images', headers: headers, unsigned: trap)
    assert_equal '200', posted.code, posted.body
    id = json(posted)[:image][:_id]
    put = @alice.raw('PUT', "/images/#{id}", headers: { 'X-Image-Meta-Name' => 'sprung' }, unsigned: trap)
    assert_equal ['200', 'sprung'], [put.code, json(put).dig(:image, :name)]
    with_body = @alice.raw('POST', '/images', headers: headers, unsigned: trap, body: 'a=b')
    assert_equal '403', with_body.code, 'with a body the type has to be signed'
  end

  def test_date_is_fresh
    [-3600, 3600].each do |seconds|
      reply = @alice.raw('GET', '/images', headers: { 'Date' => (Time.now.utc + seconds).httpdate })
      assert_equal '403', reply.code, "#{seconds} s"
    end
    refute_equal '403', @alice.raw('GET', '/images', headers: { 'Date' => (Time.now.utc - 300).httpdate }).code
  end

  def test_private_image_of_somebody_else_is_not_found
    image = register(@alice, file_of('secret'), access: 'private')
    id = image[:_id]
    tries = { head: -> { @bob.head_image(id) }, get: -> { download(@bob, id) }, put: -> { @bob.put_image(id, name: 'mine') },
              file: -> { @bob.put_image(id, { name: 'mine' }, file_of('x', 'x.bin')) }, delete: -> { @bob.delete_image(id) },
              kernel: -> { register(@bob, kernel: id) } }
    tries.each { |verb, try| assert_raises_saying(VisorClient::NotFound, /No image found with id '#{id}'/, &try) || flunk(verb) }
    assert_raises(VisorClient::NotFound) { @bob.get_images(run: @run) }
    assert_raises(VisorClient::NotFound) { @bob.get_images_detail(_id: id) }
    theirs, nobodys = [id, UNKNOWN].map { |any| @bob.raw('GET', "/images/#{any}") }
    assert_equal nobodys.body.gsub(UNKNOWN, id), theirs.body
    assert_equal 'secret', download(@alice, id)
    assert_equal [id], @alice.get_images(run: @run).map { |found| found[:_id] }
  end

  def test_public_image_of_somebody_else_is_readable_only
    image = register(@alice, file_of('open'))
    assert_equal 'open', download(@bob, image[:_id])
    assert_equal [image[:_id]], @bob.get_images(run: @run).map { |found| found[:_id] }
    assert_raises(VisorClient::Forbidden) { @bob.put_image(image[:_id], name: 'mine') }
    assert_raises(VisorClient::Forbidden) { @bob.delete_image(image[:_id]) }
    assert_equal 'test', @alice.head_image(image[:_id])[:name]
  end

  def test_delete_all
    kept = register(@alice)
    gone = [register(@bob), register(@bob, access: 'private')].map { |image| image[:_id] }
    assert_equal '400', @bob.raw('DELETE', '/all').code
    reply = @bob.raw('DELETE', '/all', headers: { 'X-Visor-Confirm' => 'all' })
    assert_equal '200', reply.code, reply.body
    assert_empty gone - json(reply)[:images].map { |image| image[:_id] }
    assert_equal [kept[:_id]], @alice.get_images(run: @run).map { |image| image[:_id] }
    assert_equal [kept[:_id]], @bob.get_images(run: @run).map { |image| image[:_id] }
  end
end

# Bytes and forms.
class WireTest < ServerTest
  def test_big_file
    path = File.join(@dir, 'big.raw')
    File.open(path, 'wb') { |file| 32.times { file.write(Random.bytes(1 << 20)) } }
    image = register(@alice, path, name: 'big', format: 'raw')
    assert_equal [32 << 20, Digest::MD5.file(path).hexdigest], image.values_at(:size, :checksum)
    md5 = Digest::MD5.new
    chunks = 0
    @alice.get_image(image[:_id]) { |chunk| md5 << chunk; chunks += 1 }
    assert_equal image[:checksum], md5.hexdigest
    assert_operator chunks, :>, 1, 'the file is streamed'
  end

  def test_files_at_the_same_time
    bytes = Array.new(4) { Random.bytes(1_000_003) }
    images = bytes.each_with_index.map { |data, index| file_of(data, "#{index}.bin") }
                  .map { |path| Thread.new { register(@alice, path) } }.map(&:value)
    loaded = images.map { |image| Thread.new { download(@bob, image[:_id]) } }.map(&:value)
    assert_equal bytes, loaded
  end

  def test_empty_file_is_no_file
    assert_equal 'locked', register(@alice, file_of(''))[:status]
  end

  def test_image_without_a_file
    image = register
    assert_equal '', download(@alice, image[:_id])
  end

  def test_names_are_text
    ['12.04', '12', '0x1F', '1_000', 'Zażółć gęślą jaźń', '日本語 イメージ', 'a & b < c > "d" / \'e\'', 'true'].each do |name|
      image = register(name: name)
      assert_equal name, image[:name]
      assert_equal [image[:_id]], @alice.get_images(run: @run, name: name).map { |found| found[:_id] }
      header = @alice.raw('HEAD', "/images/#{image[:_id]}")['x-image-meta-name']
      assert_equal name, header.dup.force_encoding(Encoding::UTF_8)
    end
  end

  def test_spellings_of_an_architecture
    assert_equal 'x86_64', register(architecture: 'amd64')[:architecture]
    assert_equal 'aarch64', register(architecture: 'arm64')[:architecture]
  end

  def test_xml_record
    image = register(@alice, file_of(disc('abc')), name: %q(a & b <c> "d" 'e' /f), format: 'iso')
    record = xml('GET', "/images/detail?run=#{@run}").elements['images/item']
    assert_equal image.transform_values(&:to_s), record.elements.to_h { |element| [element.name.to_sym, element.text] }
    assert_equal image[:_id], xml('PUT', "/images/#{image[:_id]}", 'X-Image-Meta-Name' => 'new').text('image/_id')
    assert_equal 'new', xml('DELETE', "/images/#{image[:_id]}").text('image/name')
    posted = xml('POST', '/images', 'X-Image-Meta-Name' => 'x', 'X-Image-Meta-Architecture' => 'i386', 'X-Image-Meta-Run' => @run)
    assert_match UUID, posted.text('image/_id')
  end

  def test_xml_list
    2.times { register }
    items = xml('GET', "/images?run=#{@run}").get_elements('images/item')
    assert_equal 2, items.length
    items.each { |item| assert_empty item.elements.map { |element| element.name.to_sym } - BRIEF }
  end

  def test_xml_error
    results = xml('GET', "/images/#{UNKNOWN}", expect: '404')
    assert_equal ['404', "No image found with id '#{UNKNOWN}'."], [results.text('code'), results.text('message')]
    assert_equal '404', xml('GET', "/images?run=#{@run}", expect: '404').text('code')
  end

  def test_accept
    type = ->(accept) { @alice.raw('GET', "/images/#{UNKNOWN}", headers: { 'Accept' => accept })['content-type'] }
    assert_equal 'application/json; charset=utf-8', type.call('application/json')
    assert_equal 'application/json; charset=utf-8', type.call('*/*')
    assert_equal 'application/json; charset=utf-8', type.call('text/html, image/png')
    assert_equal 'application/xml; charset=utf-8', type.call('application/xml')
    assert_equal 'application/xml; charset=utf-8', type.call('application/json;q=0.1, application/xml')
  end

  def test_head_error_stands_in_headers
    reply = @alice.raw('HEAD', "/images/#{UNKNOWN}")
    assert_equal ['404', '404', "No image found with id '#{UNKNOWN}'."], [reply.code, reply['x-error-code'], reply['x-error-message']]
  end

  def test_paths
    image = register
    status = @alice.raw('GET', '/status', unsigned: { 'Authorization' => nil })
    assert_equal %w[200 OK], [status.code, status.body]
    assert_equal '200', @alice.raw('GET', "/images/?run=#{@run}").code, 'a slash at the end does not matter'
    assert_equal '200', @alice.raw('GET', "/images/#{image[:_id]}/").code
    fake = @alice.raw('PUT', '/fake', unsigned: { 'Authorization' => nil })
    assert_equal ['404', { code: 404, message: 'Invalid operation or path.' }], [fake.code, json(fake)]
    assert_equal ['405', 'GET, POST'], @alice.raw('PUT', '/images').then { |reply| [reply.code, reply['allow']] }
    assert_equal ['405', 'DELETE, GET, HEAD, PUT'], @alice.raw('POST', '/images/x').then { |reply| [reply.code, reply['allow']] }
  end

  private

  def xml(verb, target, expect: '200', **headers)
    reply = @alice.raw(verb, target, headers: { 'Accept' => 'application/xml' }.merge(headers))
    assert_equal [expect, 'application/xml; charset=utf-8'], [reply.code, reply['content-type']], reply.body
    root = REXML::Document.new(reply.body.dup.force_encoding(Encoding::UTF_8)).root
    assert_equal 'results', root.name
    root
  end
end
